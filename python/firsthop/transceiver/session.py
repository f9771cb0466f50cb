"""One call from answer to end: the engine's events on one side, the agent on the other.

`LiveCall` is the `Call` that the agent sees. It listens for turns, keeps the client's event
channel informed, and runs the backend.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog

from firsthop._native import Engine, Event
from firsthop.backends.base import Backend
from firsthop.call import AudioFrame, Call, Message, Playback, Played, SpeechStarted
from firsthop.config import Settings
from firsthop.errors import OverloadedError, SessionClosed
from firsthop.speech.turns import TurnDetector
from firsthop.telemetry.metrics import Metrics
from firsthop.transceiver.events import RealtimeChannel

log = structlog.get_logger()

#: So long may an agent take to return once its call is over; then it is cancelled.
_FAREWELL_SECONDS: Final = 5.0
#: After how long an engine that does not keep up is told again.
_RETRY_SECONDS: Final = 0.02


class LiveCall(Call):
    """A call with a caller at the other end.

    Args:
        call_id: As the client knows it, ``rtc_...``.
        settings: Audio and turns are taken from it.
        backend: Who answers.
        metrics: What the call counts into.
        ended: Called once, when the call is over and its agent has returned.
    """

    def __init__(
        self,
        call_id: str,
        settings: Settings,
        backend: Backend,
        metrics: Metrics,
        ended: Callable[[LiveCall], None],
    ) -> None:
        super().__init__(
            call_id,
            sample_rate=settings.audio.sample_rate,
            interruptible=settings.turns.interrupt_response,
        )
        self._backend = backend
        self._metrics = metrics
        self._ended = ended
        self._log = log.bind(call=call_id)
        self._turns = TurnDetector(settings.turns, self.sample_rate)
        self._channel = RealtimeChannel(call_id, settings, self._send_text)
        self._engine: Engine | None = None
        self._session = -1
        self._answered = time.monotonic()
        self._agent: asyncio.Task[None] | None = None
        self._farewell: asyncio.TimerHandle | None = None

    def connect(self, engine: Engine, session: int) -> None:
        """Bind the call to the engine's session, once its offer was accepted."""
        self._engine, self._session = engine, session
        self._log.info("call.answered")

    def handle(self, event: Event) -> None:
        """Take one event of the engine."""
        match event:
            case Event.Audio(pcm=pcm, position=position):
                self._hear(pcm, position * 1000 // self.sample_rate)
            case Event.PlayoutStarted(utterance=utterance):
                self._channel.playout_started(utterance)
            case Event.PlayoutEnded():
                played = Played(ms=event.played_ms, interrupted=event.interrupted)
                self._playout_ended(event.utterance, played)
                self._channel.playout_ended(event.utterance, played)
            case Event.Message(text=text):
                self._take_message(text)
            case Event.ChannelOpen():
                self._channel.opened()
            case Event.Connected():
                self._connected()
            case Event.Closed(reason=reason):
                self._closed(reason)

    # What `Call` wants from the line.

    def _play(self, utterance: int, pcm: bytes, *, complete: bool) -> None:
        self._line().play(self._session, utterance, pcm, complete=complete)

    def _flush(self) -> None:
        self._insist(self._line().flush)

    def _send(self, event: Mapping[str, Any]) -> None:
        self._channel.send(event)

    def _close(self) -> None:
        self._insist(self._line().close)

    def _insist(self, command: Callable[[int], None]) -> None:
        """Give a command that must not be lost: again, until the engine takes it."""
        if self.ended is not None:
            return
        try:
            command(self._session)
        except OverloadedError:
            asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._insist, command)

    def _said(self, utterance: int, playback: Playback) -> None:
        self._channel.said(utterance, playback.text)

    def _send_text(self, text: str) -> None:
        if self.ended is None:
            # An engine that does not keep up loses news, as a closed channel does.
            with contextlib.suppress(OverloadedError):
                self._line().send(self._session, text)

    def _line(self) -> Engine:
        if self._engine is None:
            raise RuntimeError("the call is not connected to the engine")
        return self._engine

    # What happens on the line.

    def _connected(self) -> None:
        setup = time.monotonic() - self._answered
        self._metrics.setup_seconds.observe(setup)
        self._log.info("call.connected", setup_ms=round(setup * 1000))
        self._agent = asyncio.create_task(self._run_agent(), name=f"agent {self.id}")
        self._agent.add_done_callback(self._returned)

    def _hear(self, pcm: bytes, at_ms: int) -> None:
        can_interrupt = self.interruptible and self.speaking
        for turn in self._turns.feed(pcm, alert=can_interrupt):
            if isinstance(turn, SpeechStarted):
                if can_interrupt:
                    self._metrics.interruptions.inc()
                    self._silence()
                self._channel.speech_started(turn.at_ms)
            else:
                self._channel.speech_stopped(turn.at_ms)
            self._deliver(turn)
        self._deliver(AudioFrame(pcm=pcm, at_ms=at_ms))

    def _take_message(self, text: str) -> None:
        event = self._channel.receive(text)
        if event is None:
            return
        if event["type"] in {"response.cancel", "output_audio_buffer.clear"}:
            if self.speaking:
                self._silence()
            return
        self._deliver(Message(event))

    def _closed(self, reason: str) -> None:
        self._end(reason)
        self._metrics.calls_ended.labels(reason).inc()
        self._log.info("call.ended", reason=reason)
        if self._agent is None:
            self._ended(self)
        else:
            loop = asyncio.get_running_loop()
            self._farewell = loop.call_later(_FAREWELL_SECONDS, self._agent.cancel)

    async def _run_agent(self) -> None:
        try:
            await self._backend.serve(self)
        except SessionClosed:
            # It was about to say something when the caller hung up.
            return
        except Exception as error:
            self._log.error("agent.failed", error=repr(error), exc_info=error)
            self._channel.failed("the agent failed; the call is ended")

    def _returned(self, agent: asyncio.Task[None]) -> None:
        """Hang up after the agent, or, if that has happened, let go of the call."""
        self._agent = None
        if self._farewell is not None:
            self._farewell.cancel()
        if self.ended is None:
            self.hang_up()
        else:
            self._ended(self)

    def cancel(self) -> None:
        """Stop the agent: the transceiver goes down."""
        if self._agent is not None:
            self._agent.cancel()
