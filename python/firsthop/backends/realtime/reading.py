"""What an event from outside says, if it makes sense."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, TypeVar

from firsthop.call import Place

Event = dict[str, Any]
Otherwise = TypeVar("Otherwise", str, None)


class GarbageError(Exception):
    """An event makes no sense."""


def place_of(event: Mapping[str, Any]) -> Place:
    """Where sound belongs.

    Raises:
        GarbageError: It does not say.
    """
    response_id, item_id = event.get("response_id"), event.get("item_id")
    output, content = event.get("output_index", 0), event.get("content_index", 0)
    if not isinstance(response_id, str) or not isinstance(item_id, str):
        raise GarbageError
    if type(output) is not int or type(content) is not int:
        raise GarbageError
    return Place(response_id, item_id, output, content)


def pcm_of(event: Mapping[str, Any]) -> bytes:
    """The sound of an event.

    Raises:
        GarbageError: It is no base64.
    """
    delta = event.get("delta")
    if not isinstance(delta, str):
        raise GarbageError
    try:
        return base64.b64decode(delta, validate=True)
    except (binascii.Error, ValueError):
        raise GarbageError from None


def item_of(event: Mapping[str, Any]) -> tuple[str, Event]:
    """The item of an event, after its id.

    Raises:
        GarbageError: There is none, or it has no id.
    """
    item = event.get("item")
    item_id = item.get("id") if isinstance(item, dict) else None
    if not isinstance(item, dict) or not isinstance(item_id, str):
        raise GarbageError
    return item_id, item


def id_of(event: Mapping[str, Any]) -> str | None:
    """The id that whoever sent an event gave it."""
    return text_of(event.get("event_id"), None)


def text_of(value: object, otherwise: Otherwise) -> str | Otherwise:
    """A text, or something else instead of what is none."""
    return value if isinstance(value, str) else otherwise
