"""How a call is handed over to the one that goes on with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import structlog

from firsthop.call import Call
from firsthop.calls.awaited import Awaited
from firsthop.calls.leaving import HANDED_OVER, Leaving, SealTerms, invitation
from firsthop.calls.past import Past
from firsthop.calls.seats import Seats, numbered
from firsthop.calls.telling import Telling
from firsthop.calls.terms import Terms
from firsthop.calls.turntaking import TurnTaking
from firsthop.realtime.session import Session
from firsthop.telemetry.metrics import Metrics

log = structlog.get_logger()


class Handover:
    """Asks the caller to go on elsewhere, and tells the next call what there was in this one.

    Args:
        call: The call.
        client_events: The types of events that the caller's next channel may send; None: all.
        session: Goes along.
        telling: Has the items, which go along.
        awaited: Says when nobody speaks, and whether an answer is owed.
        seats: Who is told.
        turns: Are found no more, once the call was left.
        stop_answering: Stops the answer that is being made.
        metrics: Counts who was asked.
    """

    def __init__(
        self,
        call: Call,
        client_events: frozenset[str] | None,
        session: Session,
        telling: Telling,
        awaited: Awaited,
        seats: Seats,
        turns: TurnTaking,
        stop_answering: Callable[[], None],
        metrics: Metrics,
    ) -> None:
        self._call = call
        self._client_events = client_events
        self._session = session
        self._telling = telling
        self._awaited = awaited
        self._seats = seats
        self._turns = turns
        self._stop_answering = stop_answering
        self._metrics = metrics
        self._log = log.bind(call=call.id)
        self._leaving = Leaving(lambda: awaited.quiet, call.hang_up)

    @property
    def left(self) -> bool:
        """Whether another call goes on with this one."""
        return self._leaving.left

    def noticed(self) -> None:
        """Take note that something happened: somebody may have begun or ceased to speak."""
        self._leaving.noticed()

    def begin(self, deadline: float, latest: float, seal: SealTerms) -> None:
        """Ask the caller to go on elsewhere, once nobody speaks; see `LiveCall.move_on`."""
        self._leaving.begin(latest, partial(self._ask, deadline, seal))

    def past(self, successor: str | None) -> Past:
        """Return what the next call has to know, and let go; see `LiveCall.hand_over`."""
        owed = self._awaited.answer_owed
        items = self._telling.items.so_far(unfinished=not owed)
        past = Past(session=self._session.value, items=items, owes_answer=owed)
        self._leaving.let_go()
        self._turns.close()
        if owed:
            # It is given there; here nothing of it was heard.
            self._stop_answering()
        if successor is not None:
            told = numbered({"type": HANDED_OVER, "call_id": successor})
            self._seats.tell_sidebands(told)
        self._log.info("call.handed_over", to=successor, items=len(items))
        return past

    def stop(self) -> None:
        """Wait for nothing any more: the call is over."""
        self._leaving.stop()

    def _ask(self, deadline: float, seal: SealTerms) -> None:
        left_s = max(0.0, deadline - asyncio.get_running_loop().time())
        terms = Terms(
            session=self._session.value,
            client_events=self._client_events,
            continues=self._call.id,
        )
        asked, told = invitation(terms, left_s, seal)
        self._seats.tell_caller(asked)
        self._seats.tell_sidebands(told)
        self._metrics.handovers.labels("asked").inc()
        self._log.info("call.moving", seconds=round(left_s), quiet=self._awaited.quiet)
