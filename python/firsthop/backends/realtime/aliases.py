"""Items that the server and the client know by different ids.

When firsthop hears a turn, it names the item at once; the server names it again when it is given
the sound. Clients keep the first name, and the server is spoken to with the second.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Event = dict[str, Any]

#: Pairs that are remembered; the oldest go first.
_MAX: Final = 1000
_FIELDS: Final = ("item_id", "previous_item_id")


class Aliases:
    """Ids in pairs."""

    def __init__(self) -> None:
        self._ours: dict[str, str] = {}
        self._theirs: dict[str, str] = {}

    def pair(self, theirs: str, ours: str) -> None:
        """Remember that the server's item `theirs` is the client's item `ours`."""
        if theirs == ours:
            return
        self._ours[theirs], self._theirs[ours] = ours, theirs
        if len(self._ours) > _MAX:
            oldest = next(iter(self._ours))
            self._theirs.pop(self._ours.pop(oldest), None)

    def clear(self) -> None:
        """Forget them: there is another server now."""
        self._ours.clear()
        self._theirs.clear()

    def for_client(self, event: Mapping[str, Any]) -> Event:
        """Return an event of the server with the client's ids."""
        return _renamed(event, self._ours)

    def for_server(self, event: Mapping[str, Any]) -> Event:
        """Return an event of the client with the server's ids."""
        return _renamed(event, self._theirs)


def _renamed(event: Mapping[str, Any], names: Mapping[str, str]) -> Event:
    renamed = dict(event)
    for field in _FIELDS:
        value = event.get(field)
        if isinstance(value, str) and value in names:
            renamed[field] = names[value]
    item = event.get("item")
    if isinstance(item, Mapping) and isinstance(item.get("id"), str) and item["id"] in names:
        renamed["item"] = {**item, "id": names[item["id"]]}
    return renamed
