"""Events of Realtime clients: parsed, and checked before anything believes them.

The table below is the contract's list of client events. A type that is not in it is nobody's
error: it may mean something to the agent, which is given it as it is.
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final

from firsthop.errors import EventError

#: Longest id that is believed to be one, in characters.
MAX_ID: Final = 512

Check = Callable[[object], str | None]


def new_id(prefix: str) -> str:
    """Return an id that cannot be guessed, as ``item_5f2b...``."""
    return f"{prefix}_{secrets.token_hex(12)}"


def as_json(value: Mapping[str, Any]) -> str:
    """Return JSON without blanks.

    Raises:
        TypeError: It holds what JSON cannot.
        ValueError: It holds a number that JSON cannot: NaN or an infinity.
        RecursionError: It is nested too deeply.
    """
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def from_json(text: str) -> Any:
    """Read JSON, and nothing that could not be sent back as JSON.

    Raises:
        ValueError: It is none, or holds a number that JSON cannot: NaN, an infinity, 1e999.
        RecursionError: It is nested too deeply.
    """
    return json.loads(text, parse_constant=_no_number, parse_float=_finite)


def error_event(error: EventError) -> dict[str, Any]:
    """Return the event that tells of an error."""
    return {
        "type": "error",
        "error": {
            "type": error.family,
            "code": error.code,
            "message": error.message,
            "param": error.param,
            "event_id": error.event_id,
        },
    }


def parse(text: str) -> dict[str, Any]:
    """Read one event of a client.

    Raises:
        EventError: It is no event, or lacks what its type needs; the error names the event's id.
    """
    try:
        event = from_json(text)
    except (ValueError, RecursionError):
        raise EventError("invalid_json", "expected one JSON object per message") from None
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        message = "expected a JSON object with a string 'type'"
        raise EventError("invalid_event", message, param="type", event_id=id_of(event))
    for name, check in _FIELDS.get(event["type"], {}).items():
        complaint = check(event.get(name))
        if complaint is not None:
            raise EventError("invalid_event", complaint, param=name, event_id=id_of(event))
    if event["type"] == "conversation.item.create":
        _check_item(event)
    return event


def id_of(event: object) -> str | None:
    """The ``event_id`` that a client gave an event, if it can be sent back."""
    given = event.get("event_id") if isinstance(event, dict) else None
    return given if isinstance(given, str) and len(given) <= MAX_ID else None


def _object(value: object) -> str | None:
    return None if isinstance(value, dict) else "expected an object"


def _text(value: object) -> str | None:
    return None if isinstance(value, str) else "expected a string"


def _id(value: object) -> str | None:
    fits = isinstance(value, str) and 0 < len(value) <= MAX_ID
    return None if fits else f"expected a string of 1 to {MAX_ID} characters"


def _count(value: object) -> str | None:
    return None if type(value) is int and 0 <= value < 2**53 else "expected a whole number from 0"


def _or_absent(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


#: Client event -> what has to be in its fields.
_FIELDS: Final[Mapping[str, Mapping[str, Check]]] = {
    "session.update": {"session": _object},
    "input_audio_buffer.append": {"audio": _text},
    "input_audio_buffer.commit": {},
    "input_audio_buffer.clear": {},
    "output_audio_buffer.clear": {},
    "conversation.item.create": {"item": _object, "previous_item_id": _or_absent(_id)},
    "conversation.item.retrieve": {"item_id": _id},
    "conversation.item.delete": {"item_id": _id},
    "conversation.item.truncate": {
        "item_id": _id,
        "content_index": _count,
        "audio_end_ms": _count,
    },
    "response.create": {"response": _or_absent(_object)},
    "response.cancel": {"response_id": _or_absent(_id)},
}
#: All types of events that the contract lets a client send.
CLIENT_EVENTS: Final = frozenset(_FIELDS)

#: Item type -> the fields that a client has to give.
_ITEM_FIELDS: Final[Mapping[str, Mapping[str, Check]]] = {
    "message": {},
    "function_call": {"name": _text, "arguments": _text},
    "function_call_output": {"call_id": _id, "output": _text},
}
_ROLES: Final = ("user", "assistant", "system")
_STATUSES: Final = ("completed", "incomplete", "in_progress")
#: Parts of a message whose text everybody relies on.
_WORDS: Final = ("input_text", "output_text", "text")


def _check_item(event: Mapping[str, Any]) -> None:
    item = event["item"]
    checks = {"type": _text, "id": _or_absent(_id), **_ITEM_FIELDS.get(str(item.get("type")), {})}
    for name, check in checks.items():
        complaint = check(item.get(name))
        if complaint is not None:
            raise EventError(
                "invalid_event", complaint, param=f"item.{name}", event_id=id_of(event)
            )
    if item.get("status") is not None and item["status"] not in _STATUSES:
        message = f"expected one of {', '.join(_STATUSES)}"
        raise EventError("invalid_event", message, param="item.status", event_id=id_of(event))
    if item["type"] != "message":
        return
    if item.get("role") not in _ROLES:
        message = f"expected one of {', '.join(_ROLES)}"
        raise EventError("invalid_event", message, param="item.role", event_id=id_of(event))
    content = item.get("content")
    if not isinstance(content, list) or not all(
        isinstance(part, dict) and isinstance(part.get("type"), str) for part in content
    ):
        message = "expected a list of objects with a string 'type'"
        raise EventError("invalid_event", message, param="item.content", event_id=id_of(event))
    for number, part in enumerate(content):
        if part["type"] in _WORDS and not isinstance(part.get("text"), str):
            where = f"item.content.{number}.text"
            raise EventError(
                "invalid_event", "expected a string", param=where, event_id=id_of(event)
            )


def _finite(text: str) -> float:
    """Parse a number of JSON, which has no infinity to send it back as."""
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:20]} is too large a number")
    return number


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
