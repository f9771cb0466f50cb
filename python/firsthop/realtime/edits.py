"""What is done to the items of an agent's conversation, and how clients are told of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from firsthop.errors import EventError
from firsthop.realtime.conversation import Conversation, Item
from firsthop.realtime.events import id_of, new_id
from firsthop.realtime.messages import message_item
from firsthop.realtime.order import Order
from firsthop.realtime.output import Emit

#: Clients count what they were sent, after it was resampled.
_ROUNDING_MS: Final = 20


class Edits:
    """Adds, deletes and shortens items; for clients, as far as that makes sense.

    Args:
        items: The cache that all events pass.
        order: Knows which items are being made.
        emit: Takes the events for the client.
    """

    def __init__(self, items: Conversation, order: Order, emit: Emit) -> None:
        self._items = items
        self._order = order
        self._emit = emit

    def commit(self, item_id: str, content: list[dict[str, Any]]) -> None:
        """Make what the caller said the latest item."""
        previous = self._items.last
        self._emit(
            {
                "type": "input_audio_buffer.committed",
                "item_id": item_id,
                "previous_item_id": previous,
            }
        )
        self._tell(message_item(item_id, "user", "completed", content), previous)

    def create(self, event: Mapping[str, Any]) -> Item:
        """Return a client's item, once it is in its place.

        Raises:
            EventError: There is such an item already, or not the one before it.
        """
        item_id = event["item"].get("id") or new_id("item")
        if self._items.item(item_id) is not None:
            message = f"there is an item {item_id!r} already"
            raise EventError("item_exists", message, param="item.id", event_id=id_of(event))
        previous = event.get("previous_item_id") or self._items.last
        if previous is not None and previous != "root" and self._items.item(previous) is None:
            message = f"no item {previous!r} in this conversation"
            raise EventError(
                "item_not_found", message, param="previous_item_id", event_id=id_of(event)
            )
        given = {name: value for name, value in event["item"].items() if value is not None}
        item = {"status": "completed", **given, "object": "realtime.item", "id": item_id}
        after = None if previous == "root" else previous
        self._tell(item, after)
        self._items.place(item_id, after=after)
        return item

    def delete(self, event: Mapping[str, Any]) -> None:
        """Delete an item for a client.

        Raises:
            EventError: There is none, or it is being made.
        """
        item_id = self._known(event)["id"]
        if self._order.makes(item_id):
            message = "the item is being made; cancel its response first"
            raise EventError("item_in_progress", message, param="item_id", event_id=id_of(event))
        self._emit({"type": "conversation.item.deleted", "item_id": event["item_id"]})

    def truncate_as_told(self, event: Mapping[str, Any]) -> None:
        """Believe a client how much of an item was heard, as far as it can be.

        Raises:
            EventError: It cannot be.
        """
        item, ms = self._known(event), event["audio_end_ms"]
        if item.get("type") != "message" or item.get("role") != "assistant":
            message = "only what the assistant said can be truncated"
            raise EventError("invalid_value", message, param="item_id", event_id=id_of(event))
        if event["content_index"] != 0:
            message = "the item has one part, number 0"
            raise EventError("invalid_value", message, param="content_index", event_id=id_of(event))
        speech = self._order.spoken(item["id"])
        if speech is None:
            return self.truncate(item["id"], None, ms)
        if ms > speech.length_ms + _ROUNDING_MS:
            message = f"only {round(speech.length_ms)} ms of sound were made"
            raise EventError("invalid_value", message, param="audio_end_ms", event_id=id_of(event))
        self.truncate(item["id"], speech.heard(ms), ms)

    def truncate(self, item_id: str, text: str | None, ms: int) -> None:
        """Tell how much of an item was heard, and remember what its words were."""
        self._items.cut(item_id, text)
        self._emit(
            {
                "type": "conversation.item.truncated",
                "item_id": item_id,
                "content_index": 0,
                "audio_end_ms": ms,
            }
        )

    def _known(self, event: Mapping[str, Any]) -> Item:
        item = self._items.item(event["item_id"])
        if item is None:
            raise unknown_item(event)
        return item

    def _tell(self, item: Mapping[str, Any], previous: str | None) -> None:
        for kind in ("conversation.item.added", "conversation.item.done"):
            self._emit({"type": kind, "item": item, "previous_item_id": previous})


def unknown_item(event: Mapping[str, Any]) -> EventError:
    """The error that answers an event about an item that is not there."""
    message = f"no item {event['item_id']!r} in this conversation"
    return EventError("item_not_found", message, param="item_id", event_id=id_of(event))
