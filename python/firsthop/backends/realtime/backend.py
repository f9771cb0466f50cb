"""Calls with a Realtime server behind them: connecting, connecting again, and passing on."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

import structlog

from firsthop.backends import failure
from firsthop.backends.base import Backend, Traits
from firsthop.backends.failure import Failure
from firsthop.backends.realtime import dialects
from firsthop.backends.realtime.actions import (
    Action,
    Append,
    EndOfSound,
    Fail,
    Garbled,
    Interrupt,
    Sound,
    ToClient,
    ToServer,
)
from firsthop.backends.realtime.asks import is_ours
from firsthop.backends.realtime.bridge import RATE, Bridge
from firsthop.backends.realtime.connection import Connection
from firsthop.backends.realtime.dialects import Dialect
from firsthop.backends.realtime.outbox import Outbox
from firsthop.backends.realtime.speech import Speech
from firsthop.backends.websocket import ConnectionFailed
from firsthop.call import (
    AudioFrame,
    Call,
    CallerIdle,
    CallEvent,
    DigitPressed,
    Message,
    OpusPackets,
    Place,
    Playback,
    Played,
    SpeechEnded,
    SpeechStarted,
)
from firsthop.config import RealtimeSettings
from firsthop.errors import ConfigError, OverloadedError, SessionClosed
from firsthop.tasks import cancel
from firsthop.telemetry.metrics import Metrics

log = structlog.get_logger()

#: How long to wait before another connection is tried, in seconds: at first, and at most.
_FIRST_WAIT: Final = 0.25
_LONGEST_WAIT: Final = 8.0
#: A connection that lasted as long was a good one: waiting begins anew.
_GOOD_SECONDS: Final = 10.0
#: Events without sense after which a connection is given up.
_MAX_GARBAGE: Final = 100
#: What sessions are called when nobody has chosen a model.
_NO_MODEL: Final = "firsthop-"


class RealtimeBackend(Backend):
    """Another Realtime server.

    Args:
        settings: Where it is and what it speaks.
        metrics: What connections count into.

    Raises:
        ConfigError: The settings do not make sense together.
    """

    def __init__(self, settings: RealtimeSettings, metrics: Metrics) -> None:
        if settings.url is None:
            raise ConfigError(
                "realtime.url",
                "the backend realtime needs it: set FIRSTHOP_REALTIME__URL, as "
                "wss://api.openai.com/v1/realtime, and what else docs/backends.md has for it",
            )
        self._settings = settings
        self._metrics = metrics
        self._dialect = dialects.find(settings)
        self.traits = Traits(
            realtime=True,
            early=True,
            sample_rate=RATE,
            detects_turns=_detects_turns(settings, self._dialect),
        )

    async def serve(self, call: Call) -> None:
        """Keep the call connected to the server until the call ends."""
        detects_turns = self.traits.detects_turns
        exchange = _Exchange(call, self._settings, self._dialect, detects_turns, self._metrics)
        await exchange.run()


def _detects_turns(settings: RealtimeSettings, dialect: Dialect) -> bool:
    vad = dialect.has("vad")
    if settings.turns == "backend" and not vad:
        raise ConfigError("realtime.turns", f"backend: {settings.dialect} lacks vad")
    detects = vad if settings.turns == "auto" else settings.turns == "backend"
    if not detects and not dialect.has("commit"):
        raise ConfigError(
            "realtime.turns",
            f"firsthop cannot tell where turns end: {settings.dialect} lacks commit; if this "
            'server has it, set realtime.has to ["commit"]',
        )
    return detects


class _Exchange:
    """One call and its server."""

    def __init__(
        self,
        call: Call,
        settings: RealtimeSettings,
        dialect: Dialect,
        detects_turns: bool,
        metrics: Metrics,
    ) -> None:
        self._call = call
        self._settings = settings
        self._dialect = dialect
        self._metrics = metrics
        self._log = log.bind(call=call.id)
        self._outbox = Outbox()
        self._bridge = Bridge(
            dialect,
            detects_turns=detects_turns,
            paced=call.paced,
            session=lambda: call.session,
        )
        self._speeches: dict[Place, tuple[Speech, Playback]] = {}
        self._settlers: set[asyncio.Task[None]] = set()
        self._garbage = 0
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Serve the call until it ends."""
        link = asyncio.create_task(self._stay_connected(), name=f"link {self._call.id}")
        listening = asyncio.create_task(self._listen(), name=f"ears {self._call.id}")
        try:
            await asyncio.wait({link, listening}, return_when=asyncio.FIRST_COMPLETED)
            if link.done():
                # It ends by itself for two reasons: there is no way to connect, or a mistake.
                link.result()
                await listening
            listening.result()
        finally:
            if self._timer is not None:
                self._timer.cancel()
            await cancel(link, listening, *self._settlers)

    # The call.

    async def _listen(self) -> None:
        async for event in self._call:
            await self._do(self._told_by_call(event))

    def _told_by_call(self, event: CallEvent) -> list[Action]:
        match event:
            case AudioFrame():
                return self._bridge.heard(event)
            case SpeechStarted():
                return self._bridge.speech_started(event, time.monotonic())
            case SpeechEnded():
                return self._bridge.speech_ended(event)
            case CallerIdle():
                return self._bridge.idle()
            case Message(event=message):
                return self._bridge.message(message, time.monotonic())
            case DigitPressed():
                # The client and the sidebands are told; the contract has no way to tell the server.
                return []
            case OpusPackets():
                raise AssertionError("this backend is given PCM")

    # The server.

    async def _stay_connected(self) -> None:
        wait, connected_before, told = _FIRST_WAIT, False, False
        while True:
            opened_at = time.monotonic()
            try:
                connection = await Connection.open(
                    self._settings,
                    self._dialect,
                    self._model(),
                    continued=bool(self._call.items),
                )
            except ConnectionFailed as error:
                why = error.failure
                self._metrics.backend_connections.labels(why.reason).inc()
            else:
                self._metrics.backend_connections.labels("opened").inc()
                if connected_before:
                    self._metrics.backend_reconnections.inc()
                connected_before, told = True, False
                ms = round((time.monotonic() - opened_at) * 1000)
                self._log.info("backend.connected", setup_ms=ms)
                why = await self._converse(connection)
                self._metrics.backend_disconnections.labels(why.reason).inc()
                if time.monotonic() - opened_at > _GOOD_SECONDS:
                    wait = _FIRST_WAIT
            if why.lasting or not told:
                self._log.warning("backend.lost", reason=why.reason, again=not why.lasting)
                await self._lose(why)
                told = True
            if why.lasting:
                return
            # Calls that lost their server together do not come back together.
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))
            wait = min(2 * wait, _LONGEST_WAIT)

    def _model(self) -> str | None:
        if self._settings.model is not None:
            return self._settings.model
        model = self._call.session.get("model")
        chosen = isinstance(model, str) and not model.startswith(_NO_MODEL)
        return model if chosen else None

    async def _converse(self, connection: Connection) -> Failure:
        """Send and receive until the connection ends; return why it did."""
        self._garbage = 0
        queued_ms = self._outbox.sound * 1000 // (2 * RATE)
        first = self._bridge.opened(self._call.items, queued_ms)
        self._outbox.put_first([action for action in first if isinstance(action, ToServer)])
        sending = asyncio.create_task(self._send(connection), name=f"mouth {self._call.id}")
        try:
            async for event in connection.events():
                await self._do(
                    self._bridge.garbled()
                    if event is None
                    else self._bridge.received(event, time.monotonic())
                )
                if self._garbage > _MAX_GARBAGE:
                    return failure.GARBAGE
        except ConnectionFailed as error:
            return error.failure
        finally:
            await cancel(sending)
            await connection.close()
        raise AssertionError("a connection ends with an exception")

    async def _send(self, connection: Connection) -> None:
        while True:
            try:
                text = await self._outbox.get()
            except (ValueError, RecursionError):
                # It could be read, but is too deep to be written.
                continue
            await connection.send(text)

    async def _lose(self, why: Failure) -> None:
        await self._do(self._bridge.lost(why, for_good=why.lasting))
        for event in self._outbox.disconnect():
            if event.get("type") == "response.create" and not is_ours(event.get("event_id")):
                self._call.fail(why.code, why.message, event_id=event.get("event_id"))

    # What the bridge wants.

    async def _do(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Append() | ToServer():
                    self._queue(action)
                case ToClient(event=event):
                    self._tell(event)
                case Fail():
                    self._call.fail(action.code, action.message, event_id=action.event_id)
                case Sound(place=place, pcm=pcm):
                    self._play(place, pcm)
                    if not self._call.paced and place in self._speeches:
                        # It goes out in events itself, and before those that follow it.
                        await self._speeches[place][0].taken()
                case EndOfSound(place=place):
                    if place in self._speeches:
                        self._speeches[place][0].end()
                case Interrupt():
                    await self._interrupt()
                case Garbled():
                    self._garble()
        self._wake_in_time()

    def _queue(self, entry: Append | ToServer) -> None:
        if not self._outbox.put(entry) and isinstance(entry, ToServer):
            event_id = entry.event.get("event_id")
            message = "too much waits for the model's server; this event was left out"
            told = None if is_ours(event_id) else event_id
            self._call.fail("backend_overloaded", message, event_id=told)

    def _tell(self, event: Mapping[str, Any]) -> None:
        try:
            self._call.send(event)
        except (ValueError, RecursionError):
            # It was JSON when it came, but not such as can be sent.
            self._garble()

    def _garble(self) -> None:
        self._garbage += 1
        self._metrics.backend_garbage.inc()

    def _play(self, place: Place, pcm: bytes) -> None:
        if place not in self._speeches:
            speech = Speech(paced=self._call.paced)
            try:
                playback = self._call.play(
                    speech,
                    response_id=place.response_id,
                    item_id=place.item_id,
                    output_index=place.output_index,
                    content_index=place.content_index,
                )
            except (OverloadedError, SessionClosed):
                self._bridge.played(place, Played(ms=0, interrupted=False), time.monotonic())
                return
            self._speeches[place] = speech, playback
            settler = asyncio.create_task(self._settle(place, playback))
            self._settlers.add(settler)
            settler.add_done_callback(self._settlers.discard)
        self._speeches[place][0].add(pcm)

    async def _interrupt(self) -> None:
        if self._call.speaking:
            self._metrics.interruptions.inc()
        await self._call.interrupt(spoken_over=True)
        # Before anything else that comes: it is about what was just cut off.
        over = [(place, told[1]) for place, told in self._speeches.items() if told[1].done]
        for place, playback in over:
            await self._settle(place, playback)

    async def _settle(self, place: Place, playback: Playback) -> None:
        """Tell the bridge, once, how a playback ended."""
        played = await playback
        told = self._speeches.get(place)
        if told is not None and told[1] is playback:
            told[0].abandon()
            del self._speeches[place]
            await self._do(self._bridge.played(place, played, time.monotonic()))

    def _wake_in_time(self) -> None:
        """Come back when something that is waited for is overdue."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._bridge.due()
        if due is not None and self._call.ended is None:
            delay = max(0.0, due - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay, self._overdue)

    def _overdue(self) -> None:
        self._timer = None
        task = asyncio.create_task(self._do(self._bridge.overdue(time.monotonic())))
        self._settlers.add(task)
        task.add_done_callback(self._settlers.discard)
