"""Calls with a Pipecat bot behind them: connecting, and passing on both ways."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Iterable
from typing import Final

import structlog

from firsthop.backends import failure
from firsthop.backends.base import Backend, Traits
from firsthop.backends.failure import Failure
from firsthop.backends.pipecat.connection import Connection
from firsthop.backends.pipecat.frames import Audio, Frame, Interruption, Message, encode
from firsthop.backends.pipecat.outbox import Outbox
from firsthop.backends.pipecat.rtvi import (
    Action,
    Fail,
    Interpreter,
    Speaking,
    ToBot,
    ToClient,
    Unsupported,
    Words,
)
from firsthop.backends.pipecat.speech import BotSpeech
from firsthop.backends.websocket import ConnectionFailed
from firsthop.call import AudioFrame, Call, Playback
from firsthop.call import Message as ClientMessage
from firsthop.config import PipecatSettings
from firsthop.errors import OverloadedError, SessionClosed
from firsthop.realtime.events import as_json, from_json
from firsthop.rtvi.messages import LABEL
from firsthop.tasks import cancel
from firsthop.telemetry.metrics import Metrics

log = structlog.get_logger()

#: How long to wait before another connection is tried, in seconds: at first; then twice as long.
_FIRST_WAIT: Final = 0.25
#: Messages without sense after which a connection is given up.
_MAX_GARBAGE: Final = 100
#: Longest message of the bot for a client, in characters: what fits into a data channel's message.
_MAX_TOLD: Final = 128 * 1024
#: Words that wait for the sound that says them, in pieces.
_MAX_WORDS: Final = 100
#: So long has a client that speaks RTVI to say that it is ready, once sound flows, in seconds.
_READY_SECONDS: Final = 1.0
#: So long a lost call stays up, for the client to learn why it ends, in seconds.
_LAST_WORDS_SECONDS: Final = 1.0
#: So long a bot that hung up is heard out, in seconds.
_LAST_SPEECH_SECONDS: Final = 30.0
#: What the client cut off is dropped until the bot says that it has stopped, or was silent so long.
_CUT_SECONDS: Final = 0.5


class PipecatBackend(Backend):
    """A Pipecat bot.

    Args:
        settings: Where it is and how it hears.
        metrics: What connections count into.
    """

    def __init__(self, settings: PipecatSettings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self.traits = Traits(
            detects_turns=True, rtvi=True, early=True, sample_rate=settings.sample_rate
        )

    async def serve(self, call: Call) -> None:
        """Keep the call and the bot together until one of them ends it."""
        await _Exchange(call, self._settings, self._metrics).run()


class _Exchange:
    """One call and its bot."""

    def __init__(self, call: Call, settings: PipecatSettings, metrics: Metrics) -> None:
        self._call = call
        self._settings = settings
        self._metrics = metrics
        self._log = log.bind(call=call.id)
        self._outbox = Outbox()
        self._heard_ms = 0
        self._interpreter = Interpreter(lambda: self._heard_ms, self._last_item)
        self._garbage = 0
        #: What the bot says now, what it is about to say, and whether it said that it speaks.
        self._speech: BotSpeech | None = None
        self._words: deque[str] = deque(maxlen=_MAX_WORDS)
        self._speaking = False
        #: When sound was last dropped because the client had cut off what the bot says.
        self._cut_at: float | None = None
        self._followers: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve the call until it ends."""
        link = asyncio.create_task(self._link(), name=f"link {self._call.id}")
        listening = asyncio.create_task(self._listen(), name=f"ears {self._call.id}")
        try:
            done, _ = await asyncio.wait({link, listening}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await cancel(link, listening, *self._followers)

    # The call.

    async def _listen(self) -> None:
        async for event in self._call:
            match event:
                case AudioFrame(pcm=pcm):
                    self._hear(event.at_ms, pcm)
                case ClientMessage(event=message):
                    self._do(self._interpreter.from_client(message))

    def _hear(self, at_ms: int, pcm: bytes) -> None:
        rate = self._call.sample_rate
        self._heard_ms = at_ms + len(pcm) * 500 // rate
        lost_before = self._outbox.lost_seconds
        self._outbox.put(Audio(pcm, rate))
        if not lost_before and self._outbox.lost_seconds:
            self._log.warning("backend.slow")

    def _last_item(self) -> str | None:
        items = self._call.items
        item_id = items[-1].get("id") if items else None
        return item_id if isinstance(item_id, str) else None

    # The bot.

    async def _link(self) -> None:
        """Connect, pass on until the bot hangs up or is lost, and part."""
        opened_at = time.monotonic()
        try:
            connection = await self._connect()
        except ConnectionFailed as error:
            return await self._lose(error.failure, error.failure.code)
        ms = round((time.monotonic() - opened_at) * 1000)
        self._log.info("backend.connected", setup_ms=ms)
        why = await self._converse(connection)
        if why is None:
            self._metrics.backend_disconnections.labels("hung_up").inc()
            return await self._hear_out()
        self._metrics.backend_disconnections.labels(why.reason).inc()
        await self._lose(why, "backend_lost" if connection.greeted else why.code)

    async def _connect(self) -> Connection:
        """Connect, again as long as there is time and hope.

        Raises:
            ConnectionFailed: It did not work.
        """
        deadline = time.monotonic() + self._settings.connect_timeout_seconds
        wait = _FIRST_WAIT
        while True:
            left = deadline - time.monotonic()
            try:
                connection = await Connection.open(self._settings, self._call.id, left)
            except ConnectionFailed as error:
                self._metrics.backend_connections.labels(error.failure.reason).inc()
                if error.failure.lasting or time.monotonic() + wait >= deadline:
                    raise
            else:
                self._metrics.backend_connections.labels("opened").inc()
                return connection
            # Calls that found no bot together do not come back together.
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))
            wait *= 2

    async def _converse(self, connection: Connection) -> Failure | None:
        """Send and receive until the connection ends; return why, or None if the bot hung up."""
        helpers = [
            asyncio.create_task(self._send(connection), name=f"mouth {self._call.id}"),
            asyncio.create_task(self._introduce(), name=f"introduction {self._call.id}"),
        ]
        try:
            async for frame in connection.frames():
                await self._take(frame)
                if self._garbage > _MAX_GARBAGE:
                    return failure.GARBAGE
        except ConnectionFailed as error:
            return error.failure
        finally:
            await cancel(*helpers)
            await connection.close()
        return None

    async def _send(self, connection: Connection) -> None:
        while True:
            await connection.send(encode(await self._outbox.get()))

    async def _introduce(self) -> None:
        """Say for a client that does not know RTVI that it is ready."""
        await self._call.connected()
        await asyncio.sleep(_READY_SECONDS)
        self._do(self._interpreter.introduce())

    async def _lose(self, why: Failure, code: str) -> None:
        """Tell the client that there is no bot any more: it has to learn it before the call ends.

        A pipeline remembers the conversation; another connection would be another one.
        """
        self._log.warning("backend.lost", reason=why.reason, again=False)
        if self._speech is not None:
            self._speech.end()
        await self._call.connected()
        self._call.fail(code, f"{why.message}; the call is ended")
        await asyncio.sleep(_LAST_WORDS_SECONDS)

    async def _hear_out(self) -> None:
        """Let the caller hear what the bot said last."""
        if self._speech is not None:
            self._speech.end()
        if self._followers:
            await asyncio.wait(self._followers, timeout=_LAST_SPEECH_SECONDS)

    # What the bot sends.

    async def _take(self, frame: Frame | None) -> None:
        match frame:
            case Audio():
                await self._play(frame)
            case Interruption():
                await self._interrupt()
            case Message(data=data):
                self._told(data)
            case None:
                self._garble()

    async def _play(self, audio: Audio) -> None:
        if self._cut_off():
            return
        if self._speech is None or self._speech.over:
            self._speech = self._begin()
        if self._speech is not None:
            await self._speech.add(audio)

    def _begin(self) -> BotSpeech | None:
        """Begin to say something; return None if that cannot be."""
        paced, rate = self._call.paced, self._call.sample_rate
        speech = BotSpeech(rate, speaking=self._speaking, paced=paced)
        try:
            playback = self._call.say(speech)
        except (OverloadedError, SessionClosed):
            return None
        for text in self._words:
            speech.add_words(text)
        self._words.clear()
        follower = asyncio.create_task(self._follow(speech, playback))
        self._followers.add(follower)
        follower.add_done_callback(self._followers.discard)
        return speech

    async def _follow(self, speech: BotSpeech, playback: Playback) -> None:
        """See how something said ends: if the client stops it, the bot has to stop as well."""
        played = await playback
        speech.abandon()
        if played.interrupted and self._speech is speech and self._call.ended is None:
            self._speech = None
            self._cut_at = time.monotonic()
            self._outbox.put(Interruption())

    def _cut_off(self) -> bool:
        """Whether sound belongs to what the client does not want to hear any more."""
        if self._cut_at is None:
            return False
        now = time.monotonic()
        same = now - self._cut_at < _CUT_SECONDS
        self._cut_at = now if same else None
        return same

    async def _interrupt(self) -> None:
        if self._call.speaking:
            self._metrics.interruptions.inc()
        self._speech = self._cut_at = None
        self._speaking = False
        self._words.clear()
        await self._call.interrupt(spoken_over=True)

    def _told(self, data: str) -> None:
        try:
            message = from_json(data) if len(data) <= _MAX_TOLD else None
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            self._garble()
        elif message.get("label") != LABEL:
            # Of an application of its own: no client of ours knows it.
            pass
        elif not isinstance(message.get("type"), str):
            self._garble()
        else:
            self._do(self._interpreter.from_bot(message))

    def _garble(self) -> None:
        self._garbage += 1
        self._metrics.backend_garbage.inc()

    # What the interpreter wants.

    def _do(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case ToClient(event=event):
                    try:
                        self._call.send(event)
                    except (ValueError, RecursionError):
                        # It was JSON when it came, but not such as can be sent.
                        self._garble()
                case ToBot():
                    self._ask(action)
                case Fail():
                    self._call.fail(action.code, action.message, event_id=action.event_id)
                case Words(text=text):
                    self._word(text)
                case Speaking(on=on):
                    self._speaking = on
                    if self._speech is not None:
                        self._speech.expect(more=on)
                case Unsupported():
                    self._metrics.events_refused.labels("unsupported_by_backend").inc()

    def _ask(self, action: ToBot) -> None:
        try:
            frame = Message(as_json(action.message))
        except (ValueError, RecursionError):
            return
        if not self._outbox.put(frame):
            message = "too much waits for the bot; this message was left out"
            event_id = action.message.get("event_id")
            known = event_id if isinstance(event_id, str) else None
            self._call.fail("backend_overloaded", message, event_id=known)

    def _word(self, text: str) -> None:
        if self._speech is not None and not self._speech.over:
            self._speech.add_words(text)
        else:
            self._words.append(text)
