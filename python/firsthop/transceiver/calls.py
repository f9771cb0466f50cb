"""All calls of a transceiver: opened by an offer, found by their id, closed by either side."""

from __future__ import annotations

import asyncio
import secrets

from firsthop.backends.base import Backend
from firsthop.config import Settings
from firsthop.errors import SignalingError, UnknownCallError
from firsthop.telemetry.metrics import Metrics
from firsthop.transceiver.engine import EngineLoop
from firsthop.transceiver.session import LiveCall


class Calls:
    """The calls that this transceiver owns.

    This is what signaling protocols are given: `open` and `hang_up` are all they need.
    """

    def __init__(
        self, settings: Settings, engine: EngineLoop, backend: Backend, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._backend = backend
        self._metrics = metrics
        self._calls: dict[str, LiveCall] = {}
        self._none = asyncio.Event()
        self._none.set()

    def __len__(self) -> int:
        return len(self._calls)

    def open(self, offer: str) -> tuple[str, str]:
        """Answer an SDP offer.

        Returns:
            The call's id, ``rtc_...``, and the SDP answer.

        Raises:
            OfferError: The offer is wrong.
            OverloadedError: There is no room.
        """
        call = LiveCall(
            f"rtc_{secrets.token_hex(16)}",
            self._settings,
            self._backend,
            self._metrics,
            self._forget,
        )
        try:
            session, answer = self._engine.accept(offer, call.handle)
        except SignalingError as error:
            self._metrics.offers_refused.labels(error.code).inc()
            raise
        call.connect(self._engine.engine, session)
        self._calls[call.id] = call
        self._none.clear()
        return call.id, answer

    def hang_up(self, call_id: str) -> None:
        """End a call.

        Raises:
            UnknownCallError: There is no such call.
        """
        call = self._calls.get(call_id)
        if call is None or call.ended is not None:
            raise UnknownCallError(call_id)
        call.hang_up()

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

    def _forget(self, call: LiveCall) -> None:
        self._calls.pop(call.id, None)
        if not self._calls:
            self._none.set()
