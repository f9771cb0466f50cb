"""The table of a call: its ends, what each may send, and how much."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from firsthop.calls.ends import End
from firsthop.errors import EventError, OverloadedError
from firsthop.realtime.events import as_json, error_event, id_of, new_id
from firsthop.telemetry.metrics import Metrics

#: Ends of one call: the caller's, and sidebands.
_MAX_ENDS: Final = 17
#: Events that an end may send at once, and per second. A conversation takes a few.
_BURST: Final = 500
_PER_SECOND: Final = 100
#: How many it may send at once again when it counts as calm.
_CALM: Final = _BURST / 2


@dataclass(slots=True)
class Seat:
    """An end at the table: what it may send, and how much."""

    end: End
    client_events: frozenset[str] | None = None
    """The types of events that it may send; None: all."""
    caller: bool = False
    """Whether the call ends when it goes."""
    _room: float = field(default=_BURST, init=False)
    _since: float = field(default_factory=lambda: asyncio.get_running_loop().time(), init=False)
    _complained: bool = field(default=False, init=False)

    def may_send(self, kind: str) -> bool:
        """Whether events of this type are taken from it."""
        return self.client_events is None or kind in self.client_events

    def admits(self) -> bool:
        """Count one event; False when it sends too many."""
        now = asyncio.get_running_loop().time()
        self._room = min(_BURST, self._room + (now - self._since) * _PER_SECOND)
        self._since = now
        if self._room < 1:
            return False
        self._room -= 1
        if self._room >= _CALM:
            self._complained = False
        return True

    def refund(self) -> None:
        """Count the last event not: sound has a bound of its own."""
        self._room += 1

    def complains(self) -> bool:
        """Whether to tell it now that it sends too many: once, and then it has to calm down."""
        first = not self._complained
        self._complained = True
        return first


class Seats:
    """Who sits at the table of a call. The caller's own end does from the start.

    Args:
        caller: The caller's data channel.
        client_events: The types of events that it may send; None: all.
        metrics: Events that were refused are counted there.
    """

    def __init__(self, caller: End, client_events: frozenset[str] | None, metrics: Metrics) -> None:
        self._caller = caller
        self._metrics = metrics
        self._seats = {id(caller): Seat(caller, client_events)}

    @property
    def want_audio(self) -> bool:
        """Whether the agent's sound goes to anybody in events."""
        return any(seat.end.wants_audio for seat in self._seats.values())

    def join(self, seat: Seat) -> None:
        """Let an end in. If it is the caller's, it comes instead of the data channel.

        Raises:
            OverloadedError: There are too many already.
        """
        if len(self._seats) >= _MAX_ENDS:
            raise OverloadedError(f"a call has at most {_MAX_ENDS - 1} sidebands")
        if seat.caller:
            self._seats.pop(id(self._caller), None)
        self._seats[id(seat.end)] = seat

    def leave(self, end: End) -> Seat | None:
        """Let an end go; return the seat that it had."""
        return self._seats.pop(id(end), None)

    def of(self, end: End) -> Seat | None:
        """The seat of an end, if it has one."""
        return self._seats.get(id(end))

    def tell(self, text: str, *, sound: bool) -> None:
        """Tell all ends of an event.

        Args:
            text: The event as JSON.
            sound: It is the agent's sound, which some hear already.
        """
        for seat in list(self._seats.values()):
            if seat.end.wants_audio or not sound:
                seat.end.deliver(text)

    def tell_caller(self, text: str) -> None:
        """Tell nobody but the caller of an event, as JSON."""
        for seat in list(self._seats.values()):
            if self._is_caller(seat):
                seat.end.deliver(text)

    def tell_sidebands(self, text: str) -> None:
        """Tell all but the caller of an event, as JSON."""
        for seat in list(self._seats.values()):
            if not self._is_caller(seat):
                seat.end.deliver(text)

    def refuse(self, seat: Seat, event: Mapping[str, Any], error: EventError) -> None:
        """Tell an end that its event was refused."""
        self._metrics.events_refused.labels(error.code).inc()
        if error.code == "rate_limit_exceeded" and not seat.complains():
            return
        if error.event_id is None:
            error.event_id = id_of(event)
        seat.end.deliver(numbered(error_event(error)))

    def close(self) -> None:
        """Tell all ends that the call is over, and let them go."""
        seats, self._seats = self._seats, {}
        for seat in seats.values():
            seat.end.close()

    def _is_caller(self, seat: Seat) -> bool:
        return seat.caller or seat.end is self._caller


def numbered(event: Mapping[str, Any]) -> str:
    """The event as JSON; it gets an ``event_id`` if it has none."""
    return as_json({"event_id": new_id("event"), **event})
