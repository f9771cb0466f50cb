"""The server as it is spoken to, over as many connections as it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from firsthop.backends.realtime.actions import Action, Fail, ToServer
from firsthop.backends.realtime.asks import Ask, Asks
from firsthop.backends.realtime.dialects import Dialect
from firsthop.backends.realtime.items import Items
from firsthop.backends.realtime.reading import GarbageError, id_of

Event = dict[str, Any]
#: What a client may ask that not every server understands.
Capability = Literal["commit", "clear", "delete", "cancel", "truncate"]


class Server:
    """Speaks with the server in its dialect. It owns what was asked, and how the connection is.

    Args:
        dialect: What the server speaks.
        items: How it calls them.
    """

    def __init__(self, dialect: Dialect, items: Items) -> None:
        self._dialect = dialect
        self._items = items
        self._asks = Asks()
        self.link: Literal["opening", "open", "lost", "gone"] = "opening"
        """How the connection is: lost if there will be another, gone if there will not."""

    def has(self, capability: Capability) -> bool:
        """Whether it understands something."""
        return self._dialect.has(capability)

    def can(self, capability: Capability) -> bool:
        """Whether it understands something, and is there to do it."""
        return self.link in ("opening", "open") and self.has(capability)

    def send(self, event: Mapping[str, Any]) -> list[Action]:
        """Send it an event."""
        outgoing = self._dialect.outgoing(self._items.for_server(event))
        return [ToServer(translated) for translated in outgoing]

    def ask(
        self,
        event: Mapping[str, Any],
        *,
        due: float | None = None,
        otherwise: Mapping[str, Any] | None = None,
    ) -> list[Action]:
        """Send it an event on our own account; see `Asks.ask`."""
        return self.send(self._asks.ask(event, due=due, otherwise=otherwise))

    def commit(self, event: Mapping[str, Any], item_id: str) -> list[Action]:
        """Ask it to make sound an item.

        Args:
            event: A client's request, or one without an id.
            item_id: The item's id if the client knows one already; else empty.
        """
        if not id_of(event):
            event = self._asks.ask(event)
        self._items.commit(event["event_id"], item_id)
        return self.send(event)

    def translated(self, event: object) -> Iterator[Event]:
        """Return what it says in an event, for the client, whatever the event is.

        Raises:
            GarbageError: It makes no sense; also while iterating.
        """
        if not isinstance(event, dict) or not isinstance(event.get("type"), str):
            raise GarbageError
        return map(self._items.for_client, self._dialect.incoming(event))

    def truncated(self, item_id: object) -> None:
        """Take note that it has truncated an item, as asked or not."""
        self._asks.answered("conversation.item.truncated", item_id)

    def refused(self, event_id: object) -> Ask | None:
        """Take note that it refused an event; return what we asked by it, if it was ours."""
        if isinstance(event_id, str):
            self._items.refused(event_id)
        return self._asks.refused(event_id)

    def opened(self) -> None:
        """Take note that there is a connection."""
        self.link = "open"

    def lost(self, *, for_good: bool) -> list[Mapping[str, Any]]:
        """Take note that it is gone; return what the client is told instead of its answers."""
        self.link = "gone" if for_good else "lost"
        self._items.disconnected()
        return self._asks.abandon()

    def due(self) -> float | None:
        """When its next answer is overdue, in seconds of the clock."""
        return self._asks.due()

    def overdue(self, now: float) -> list[Mapping[str, Any]]:
        """Return what the client is told instead of answers that did not come until `now`."""
        return self._asks.overdue(now)

    def unreachable(self, event: Mapping[str, Any]) -> Fail:
        """What a client is told whose event cannot be passed on."""
        message = "there is no connection to the model's server"
        if self.link == "lost":
            message += " now; try again in a moment"
        return Fail("backend_unreachable", message, id_of(event))
