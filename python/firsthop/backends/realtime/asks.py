"""What firsthop asks of a server on its own account, and what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

Event = dict[str, Any]

#: Questions that are remembered; the oldest go first.
_MAX: Final = 256
_PREFIX: Final = "fh_"


@dataclass(frozen=True, slots=True)
class Ask:
    """One event that firsthop sent by itself."""

    kind: str
    """Its type."""
    due: float | None = None
    """Until when its answer is waited for, in seconds of the clock."""
    otherwise: Mapping[str, Any] | None = None
    """What the client is told if it does not come, or is an error."""


def is_ours(event_id: object) -> bool:
    """Whether an event is one that firsthop sent by itself."""
    return isinstance(event_id, str) and event_id.startswith(_PREFIX)


class Asks:
    """Events that firsthop sent, by the ids that it gave them."""

    def __init__(self) -> None:
        self._open: dict[str, Ask] = {}
        self._last = 0

    def ask(
        self,
        event: Mapping[str, Any],
        *,
        due: float | None = None,
        otherwise: Mapping[str, Any] | None = None,
    ) -> Event:
        """Return an event with an id, and remember it."""
        self._last += 1
        event_id = f"{_PREFIX}{self._last}"
        self._open[event_id] = Ask(event["type"], due, otherwise)
        if len(self._open) > _MAX:
            del self._open[next(iter(self._open))]
        return {**event, "event_id": event_id}

    def refused(self, event_id: object) -> Ask | None:
        """Return what an error is about, if it is about one of these."""
        return self._open.pop(event_id, None) if isinstance(event_id, str) else None

    def answered(self, kind: str, item_id: object) -> None:
        """Let go of the truncation of an item."""
        for event_id, ask in list(self._open.items()):
            if ask.otherwise is not None and ask.otherwise.get("type") == kind:
                if ask.otherwise.get("item_id") == item_id:
                    del self._open[event_id]
                    return

    def due(self) -> float | None:
        """When the next answer is overdue, in seconds of the clock."""
        return min((ask.due for ask in self._open.values() if ask.due is not None), default=None)

    def overdue(self, now: float) -> list[Mapping[str, Any]]:
        """Return what the client is told instead of answers that did not come until `now`."""
        late = [n for n, ask in self._open.items() if ask.due is not None and ask.due <= now]
        told = [self._open.pop(event_id).otherwise for event_id in late]
        return [event for event in told if event is not None]

    def abandon(self) -> list[Mapping[str, Any]]:
        """Return what the client is told because no answer can come any more."""
        asks, self._open = self._open, {}
        return [ask.otherwise for ask in asks.values() if ask.otherwise is not None]
