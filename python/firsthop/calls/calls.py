"""All calls of a process: opened by offer or socket, found by their id, closed by either side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from firsthop._native import Event
from firsthop.addresses import Candidates
from firsthop.backends.base import Backend
from firsthop.calls.callid import CallIds
from firsthop.calls.ends import End
from firsthop.calls.leaving import SealTerms
from firsthop.calls.line import Line, SocketLine
from firsthop.calls.past import Past
from firsthop.calls.session import LiveCall
from firsthop.calls.terms import Terms
from firsthop.config import Settings
from firsthop.errors import (
    DrainingError,
    EventError,
    OverloadedError,
    SessionClosed,
    SignalingError,
    UnknownCallError,
)
from firsthop.telemetry.metrics import Metrics

log = structlog.get_logger()


class Answerer(Protocol):
    """Answers SDP offers: the engine, where there is one."""

    def answer(
        self,
        offer: str,
        handler: Callable[[Event], None],
        sample_rate: int | None,
        channel: int | None = None,
        candidates: Candidates | None = None,
    ) -> tuple[Line, str]:
        """Return the line and the SDP answer; `handler` gets the line's events.

        Sound is PCM at `sample_rate`, or stays Opus if that is None. `channel` is the id of a data
        channel that both sides know of (``negotiated: true``). `candidates` are what the answer
        names; None: what the settings say.

        Raises:
            OfferError: The offer is wrong.
            OverloadedError: There is no room.
        """


class Calls:
    """The calls of this process: what signaling protocols are given.

    Args:
        settings: All settings.
        backend: Who answers.
        metrics: What calls count into.
        ids: Makes the calls' ids.
        answerer: Answers offers; None where calls come by WebSocket only.
    """

    def __init__(
        self,
        settings: Settings,
        backend: Backend,
        metrics: Metrics,
        ids: CallIds,
        answerer: Answerer | None = None,
    ) -> None:
        self._settings = settings
        self._answerer = answerer
        self._backend = backend
        self._metrics = metrics
        self.ids = ids
        self._calls: dict[str, LiveCall] = {}
        self._none = asyncio.Event()
        self._none.set()
        self._draining = False
        self.seal: SealTerms | None = None
        """Makes the secrets by which calls go on elsewhere; None: they do not."""

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def draining(self) -> bool:
        """Whether no new calls are taken, as the process is about to end."""
        return self._draining

    @property
    def full(self) -> bool:
        """Whether there are as many calls as settings allow."""
        running = sum(call.ended is None for call in self._calls.values())
        return running >= self._settings.transceiver.max_sessions

    def open(self, offer: str, terms: Terms | None = None) -> tuple[str, str]:
        """Answer an SDP offer.

        Returns:
            The call's id, ``rtc_...``, and the SDP answer.

        Raises:
            DrainingError: No new calls are taken.
            OfferError: The offer is wrong.
            OverloadedError: There is no room.
            SignalingError: The session in `terms` makes no sense.
        """
        try:
            self._admit()
            call = self._make(terms)
            if self._answerer is None:
                raise SignalingError("there is no WebRTC here", status=404, code="not_found")
            rate = None if self._backend.traits.opus else call.sample_rate
            channel, steered = (terms.channel_id, terms.steered) if terms else (None, None)
            candidates = None if steered is None else steered.candidates
            line, answer = self._answerer.answer(offer, call.handle, rate, channel, candidates)
        except SignalingError as error:
            self._metrics.offers_refused.labels(error.code).inc()
            raise
        self._keep(call, terms)
        if steered is not None:
            log.info("call.steered", call=call.id, **steered.story())
        call.connect(line)
        return call.id, answer

    async def renegotiate(self, call_id: str, offer: str) -> str:
        """Answer an SDP offer in mid-call: an ICE restart, or other m-lines.

        Returns:
            The SDP answer. Offers that overlap are answered in the order in which they came.

        Raises:
            OfferError: The offer is wrong; the call goes on as it was.
            OverloadedError: The engine does not keep up.
            UnknownCallError: There is no such call, or it ended meanwhile.
        """
        try:
            return await self._find(call_id).renegotiate(offer)
        except SessionClosed:
            raise UnknownCallError(call_id) from None
        except SignalingError as error:
            self._metrics.offers_refused.labels(error.code).inc()
            raise

    def open_socket(self, end: End, terms: Terms | None = None) -> str:
        """Take a call whose sound travels in events, and return its id.

        Args:
            end: The caller's end; it is greeted with ``session.created``.
            terms: What the call is placed with.

        Raises:
            DrainingError: No new calls are taken.
            OverloadedError: There is no room.
            SignalingError: The session in `terms` makes no sense, or the backend wants Opus.
        """
        if self._backend.traits.opus:
            message = "the sound of this backend is Opus, which a WebSocket does not carry"
            raise SignalingError(f"{message}; call by WebRTC", code="webrtc_only")
        self._admit()
        terms = terms or Terms()
        call = self._make(terms)
        self._keep(call, terms)
        call.connect(SocketLine(call.sample_rate, call.handle))
        call.join(end, terms.client_events, caller=True)
        call.handle(Event.Connected(0))
        return call.id

    def owns(self, call_id: str) -> bool:
        """Whether there is such a call here."""
        call = self._calls.get(call_id)
        return call is not None and call.ended is None

    def attach(self, call_id: str, end: End) -> None:
        """Let an end join a call; it may send anything.

        Raises:
            UnknownCallError: There is no such call.
            OverloadedError: Too many have joined it already.
        """
        self._find(call_id).join(end)

    def receive(self, call_id: str, end: End, text: str) -> None:
        """Take one event from an end; nothing happens if the call is over."""
        if (call := self._calls.get(call_id)) is not None:
            call.receive(end, text)

    def detach(self, call_id: str, end: End) -> None:
        """Let an end go. A call whose caller came by it ends."""
        if (call := self._calls.get(call_id)) is not None:
            call.leave(end)

    def hang_up(self, call_id: str) -> None:
        """End a call.

        Raises:
            UnknownCallError: There is no such call.
        """
        self._find(call_id).hang_up()

    def drain(self) -> None:
        """Take no new calls from now on. Those that there are go on."""
        self._draining = True

    def move_on(self, deadline: float) -> None:
        """Ask all callers to go on elsewhere: their calls are hung up when a drain ends.

        Each is asked once, when nobody speaks; at half the time of a handover, whoever does.

        Args:
            deadline: When that is, by the running loop's clock.
        """
        if self.seal is None:
            return
        latest = deadline - self._settings.transceiver.handover_seconds / 2
        for call in list(self._calls.values()):
            call.move_on(deadline, latest, self.seal)

    def hand_over(self, call_id: str, successor: str | None = None) -> Past:
        """Return what the call that goes on with this one has to know; see `LiveCall.hand_over`.

        Raises:
            UnknownCallError: There is no such call.
        """
        return self._find(call_id).hand_over(successor)

    @property
    def problem(self) -> str | None:
        """Why no call is taken now, in a word; None: one is."""
        if self._draining:
            return "draining"
        return "full" if self.full else None

    async def over(self) -> None:
        """Wait until there is no call any more, and no agent at work at one."""
        await self._none.wait()

    async def close(self) -> None:
        """End all calls, and wait briefly for their agents."""
        for call in list(self._calls.values()):
            if call.ended is None:
                call.hang_up()
            call.cancel()
        try:
            await asyncio.wait_for(self._none.wait(), timeout=1)
        except TimeoutError:
            return

    def _admit(self) -> None:
        if self._draining:
            raise DrainingError
        if self.full:
            raise OverloadedError("all sessions of this transceiver are taken")

    def _make(self, terms: Terms | None) -> LiveCall:
        try:
            terms = terms or Terms()
            return LiveCall(
                terms.call_id or self.ids.mint(),
                self._settings,
                self._backend,
                self._metrics,
                self._forget,
                terms,
            )
        except EventError as error:
            raise SignalingError(error.message, code=error.code, param=error.param) from None

    def _keep(self, call: LiveCall, terms: Terms | None) -> None:
        self._calls[call.id] = call
        self._none.clear()
        if terms is not None and terms.continues is not None:
            known = terms.past is not None
            self._metrics.handovers.labels("continued" if known else "lost").inc()
            log.info("call.continued", call=call.id, of=terms.continues, history=known)

    def _find(self, call_id: str) -> LiveCall:
        call = self._calls.get(call_id)
        if call is None or call.ended is not None:
            raise UnknownCallError(call_id)
        return call

    def _forget(self, call: LiveCall) -> None:
        self._calls.pop(call.id, None)
        if not self._calls:
            self._none.set()
