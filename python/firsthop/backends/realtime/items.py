"""The items of a conversation, as the server and the client know them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from firsthop.backends.realtime.actions import Action, ToClient
from firsthop.backends.realtime.aliases import Aliases
from firsthop.backends.realtime.history import retold
from firsthop.backends.realtime.reading import GarbageError, item_of

Event = dict[str, Any]

#: Commits that may wait for their item.
_MAX_COMMITS: Final = 32
#: Items that are known to have been told; the oldest go first.
_MAX_TOLD: Final = 1000


class Items:
    """Pairs the items of either side, and tells the client of each once."""

    def __init__(self) -> None:
        self._aliases = Aliases()
        #: Commits that were not answered: event id -> the item, if the client has its id.
        self._commits: dict[str, str] = {}
        #: Items that a new connection was told of and has not confirmed: id -> type and role.
        self._retold: dict[str, tuple[object, object]] = {}
        self._added: dict[str, None] = {}
        self._settled: dict[str, None] = {}
        self._last: str | None = None

    @property
    def last(self) -> str | None:
        """The latest that the client was told of."""
        return self._last

    def for_client(self, event: Mapping[str, Any]) -> Event:
        """Return an event of the server with the client's ids."""
        return self._aliases.for_client(event)

    def for_server(self, event: Mapping[str, Any]) -> Event:
        """Return an event of the client with the server's ids."""
        return self._aliases.for_server(event)

    def commit(self, event_id: str, item_id: str) -> None:
        """Take note that the server is asked to make sound an item.

        Args:
            event_id: Of the request.
            item_id: The item's id if the client knows one already; else empty.
        """
        self._commits[event_id] = item_id
        if len(self._commits) > _MAX_COMMITS:
            del self._commits[next(iter(self._commits))]

    def refused(self, event_id: str) -> None:
        """Take note that an event, which may be such a request, was refused."""
        self._commits.pop(event_id, None)

    def committed(self, event: Event) -> Event:
        """Return the server's answer to a commit as the client is told it.

        Raises:
            GarbageError: It names no item.
        """
        theirs = event.get("item_id")
        if not isinstance(theirs, str):
            raise GarbageError
        if self._commits:
            ours = self._commits.pop(next(iter(self._commits)))
            if ours:
                self._aliases.pair(theirs, ours)
        return self.for_client(event)

    def known(self, items: Iterable[Mapping[str, Any]]) -> None:
        """Take note of items that the client knows from elsewhere: it is not told of them."""
        for item in items:
            for told in (self._added, self._settled):
                remember(told, item["id"])
            self._last = item["id"]

    def retell(self, items: Iterable[Mapping[str, Any]]) -> list[Event]:
        """Return what a new connection is told of the conversation so far, as items to create."""
        told = retold(items)
        self._retold = {item["id"]: (item["type"], item.get("role")) for item in told}
        return told

    def recognised(self, event: Event) -> tuple[str, Event]:
        """Return the server's event about an item as the client is told it, after the item's id.

        Raises:
            GarbageError: It has no item.
        """
        item_id, item = item_of(event)
        if self._retold and item_id not in self._added:
            event = self._confirm(event, item, item_id)
        self._retold.pop(item_id, None)
        return item_id, event

    def tell(self, events: Iterable[Mapping[str, Any]]) -> list[Action]:
        """Tell the client events, but not twice of the same item."""
        actions: list[Action] = []
        for event in events:
            if event["type"] == "conversation.item.added":
                actions += self._tell_once(event, self._added)
            elif event["type"] == "conversation.item.done":
                added = {**event, "type": "conversation.item.added"}
                added.pop("event_id", None)
                actions += self._tell_once(added, self._added)
                actions += self._tell_once(event, self._settled)
            else:
                actions.append(ToClient(event))
        return actions

    def disconnected(self) -> None:
        """Forget what the server called them: there will be another."""
        self._aliases.clear()
        self._commits.clear()
        self._retold.clear()

    def _confirm(self, event: Event, item: Event, item_id: str) -> Event:
        """Find out which item of before a server that gives its own ids means."""
        looks = (item.get("type"), item.get("role"))
        ours = next((n for n, retold in self._retold.items() if retold == looks), None)
        if ours is None:
            return event
        del self._retold[ours]
        self._aliases.pair(item_id, ours)
        return self.for_client(event)

    def _tell_once(self, event: Mapping[str, Any], told: dict[str, None]) -> list[Action]:
        item_id = event["item"]["id"]
        if item_id in told:
            return []
        remember(told, item_id)
        self._last = item_id
        return [ToClient(event)]


def remember(seen: dict[str, None], name: str) -> None:
    """Keep a name among the latest."""
    seen[name] = None
    if len(seen) > _MAX_TOLD:
        del seen[next(iter(seen))]
