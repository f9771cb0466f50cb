"""The native engine on asyncio: one wake-up, many events, each to the session it is for.

Invariant kept here, as in the engine: *a session that misbehaves ends alone*.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping

import structlog

from firsthop._native import Engine, Event
from firsthop.addresses import Candidates, own_address
from firsthop.config import Settings, TransceiverSettings
from firsthop.errors import OfferError, OverloadedError, SessionClosed
from firsthop.transceiver.line import EngineLine, OpusLine

log = structlog.get_logger()

Handler = Callable[[Event], None]

_RELAY_PORT = 3478


class EngineLoop:
    """Starts the engine, and hands its events to whoever accepted the session."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._handlers: dict[int, Handler] = {}
        #: Offers in mid-call that wait for their answers, in order.
        self._offers: dict[int, deque[asyncio.Future[str]]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """The running engine.

        Raises:
            RuntimeError: It does not run.
        """
        if self._engine is None:
            raise RuntimeError("the engine is not running")
        return self._engine

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._engine is not None

    def start(self) -> None:
        """Bind the sockets, start the shards, and listen for their events on the running loop.

        Raises:
            ConfigError: No keys are set.
            OSError: A socket cannot be bound; the message names it.
        """
        transceiver, keys = self._settings.transceiver, self._settings.key_bytes()
        self._engine = Engine(
            listen=transceiver.listen,
            shards=transceiver.shards,
            reachable_ip=transceiver.reachable_ip,
            advertised=list(advertised(transceiver)),
            advertised_tcp=list(transceiver.advertise_tcp),
            direct=transceiver.direct,
            cluster=transceiver.cluster,
            token_keys=keys,
            token_key_id=self._settings.key_id,
            token_lifetime_seconds=transceiver.token_lifetime_seconds,
            hop_secrets=keys,
            hop_key_id=self._settings.key_id,
            # Calls of callers are counted before they come here. A call of our own has a place too.
            max_sessions=transceiver.max_sessions + transceiver.loopback,
        )
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._engine.fileno(), self._dispatch)

    def answer(
        self,
        offer: str,
        handler: Handler,
        sample_rate: int | None,
        channel: int | None = None,
        candidates: Candidates | None = None,
    ) -> tuple[EngineLine, str]:
        """Accept an SDP offer; return the session as the line of a call, and the SDP answer.

        As `accept`.
        """
        session, answer = self.accept(offer, handler, sample_rate, channel, candidates)
        kind = OpusLine if sample_rate is None else EngineLine
        return kind(self.engine, session, self.renegotiate), answer

    def accept(
        self,
        offer: str,
        handler: Handler,
        sample_rate: int | None,
        channel: int | None = None,
        candidates: Candidates | None = None,
    ) -> tuple[int, str]:
        """Accept an SDP offer; `handler` gets the session's events, `Event.Closed` last.

        Args:
            offer: The SDP.
            handler: Called on the running loop.
            sample_rate: Of the session's PCM, in Hz; None: its sound stays Opus.
            channel: The id of a data channel that both sides know of, if there is one.
            candidates: What the session's answers name; None: the addresses of the settings.

        Returns:
            The session's number and the SDP answer.

        Raises:
            OfferError: The offer is wrong.
            OverloadedError: There is no room.
            ValueError: A candidate is no transport address.
        """
        audio = self._settings.audio
        udp, tcp = (candidates.udp, candidates.tcp) if candidates else (None, None)
        if sample_rate is None:
            session, answer = self.engine.accept_opus(
                offer,
                frame_ms=audio.frame_ms,
                channel=channel,
                advertised=udp,
                advertised_tcp=tcp,
            )
        else:
            session, answer = self.engine.accept(
                offer,
                sample_rate=sample_rate,
                frame_ms=audio.frame_ms,
                bitrate=audio.bitrate,
                complexity=audio.complexity,
                channel=channel,
                advertised=udp,
                advertised_tcp=tcp,
            )
        # Events are dispatched by this same loop, so none can have been missed.
        self._handlers[session] = handler
        return session, answer

    async def renegotiate(self, session: int, offer: str) -> str:
        """Answer an offer in mid-call. Offers of a session are answered in their order.

        Raises:
            OfferError: The offer is wrong; the session goes on as it was.
            OverloadedError: The engine does not keep up.
            SessionClosed: The session ended meanwhile.
        """
        if session not in self._handlers:
            raise SessionClosed("closed")
        self.engine.renegotiate(session, offer)
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._offers.setdefault(session, deque()).append(answer)
        return await answer

    def set_keys(self, keys: Mapping[int, bytes], key_id: int) -> None:
        """Seal new tokens and hop headers under `key_id`; take records under any of `keys`.

        Sessions go on, and their tokens stay as they are.

        Raises:
            OverloadedError: The engine does not keep up; it is safe to try again.
            RuntimeError: It does not run.
            ValueError: There is no key under `key_id`, or one is not of 32 bytes.
        """
        self.engine.set_keys(keys, key_id)

    def stop(self) -> None:
        """Hang up every session and end the shards; every handler hears that it is closed."""
        engine, self._engine = self._engine, None
        if engine is None:
            return
        if self._loop is not None:
            self._loop.remove_reader(engine.fileno())
        engine.stop()
        for session in list(self._handlers):
            self._hand_over(engine, Event.Closed(session, "hung_up"))

    def _dispatch(self) -> None:
        if (engine := self._engine) is not None:
            for event in engine.take_events():
                self._hand_over(engine, event)

    def _hand_over(self, engine: Engine, event: Event) -> None:
        closed = isinstance(event, Event.Closed)
        handler = self._handlers.get(event.session)
        if isinstance(event, Event.Renegotiated):
            return _settle(self._offers[event.session].popleft(), event)
        if isinstance(event, Event.Closed):
            self._handlers.pop(event.session, None)
            for waiting in self._offers.pop(event.session, ()):
                if not waiting.done():
                    waiting.set_exception(SessionClosed(event.reason))
        if handler is None:
            return
        try:
            handler(event)
        except Exception as error:
            log.error("session.failed", error=repr(error), exc_info=error)
            if not closed:
                with contextlib.suppress(OverloadedError):
                    engine.close(event.session)


def _settle(answer: asyncio.Future[str], event: Event.Renegotiated) -> None:
    if answer.done():
        # Who asked has given up.
        return
    if event.answer is not None:
        answer.set_result(event.answer)
    else:
        answer.set_exception(OfferError(event.error or "refused", event.line))


def advertised(transceiver: TransceiverSettings) -> tuple[str, ...]:
    """The relay's public addresses, as answers name them."""
    return transceiver.advertise or (f"{own_address()}:{_RELAY_PORT}",)
