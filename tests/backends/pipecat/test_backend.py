"""Calls behind a real WebSocket server that speaks a bot's frames and does as it is told."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from doubles import Line
from e2e.waiting import until
from firsthop import backends
from firsthop.backends.pipecat import PipecatBackend, backend
from firsthop.backends.pipecat.frames import (
    Audio,
    Frame,
    Interruption,
    Message,
    Text,
    decode,
    encode,
)
from firsthop.call import AudioFrame, Sound
from firsthop.call import Message as ClientMessage
from firsthop.config import PipecatSettings, Settings
from firsthop.telemetry.metrics import Metrics

KEY = "swordfish-swordfish"
RATE = 16_000
#: 40 ms, as bots send it.
PIECE = Audio(bytes(range(1, 129)) * 10, RATE)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reach the server here whatever the developer's network is."""
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nothing that only gives clients time."""
    monkeypatch.setattr(backend, "_READY_SECONDS", 0.0)
    monkeypatch.setattr(backend, "_LAST_WORDS_SECONDS", 0.0)


class Talk(Line):
    """A call in progress, and what became of it."""

    def __init__(self) -> None:
        super().__init__(sample_rate=RATE)
        self.metrics = Metrics()
        #: Whether what is said is played at once.
        self.plays = True

    def _play(self, utterance: int, sound: Sound, *, complete: bool) -> None:
        super()._play(utterance, sound, complete=complete)
        if complete and self.plays:
            asyncio.get_running_loop().call_soon(lambda: self.settle(utterance, 40))

    def _flush(self) -> None:
        super()._flush()
        for utterance in list(self._playbacks):
            settle = functools.partial(self.settle, utterance, 20, interrupted=True)
            asyncio.get_running_loop().call_soon(settle)

    async def sees(self, condition: Callable[[], object]) -> None:
        """Wait until something asked of the call made `condition` true."""
        async with asyncio.timeout(20):
            while not condition():
                self._noted.clear()
                await self._noted.wait()

    def failed(self) -> list[object]:
        """The codes of the errors that the client was told."""
        return [note[1] for note in self.notes if note[0] == "fail"]

    def sent(self, kind: str) -> list[Mapping[str, Any]]:
        """The events of a type that the client was sent."""
        sent = [note[1] for note in self.notes if note[0] == "send"]
        return [event for event in sent if isinstance(event, dict) and event["type"] == kind]

    def says(self, **event: object) -> None:
        """Send an event as the client."""
        self.deliver(ClientMessage(event))

    def count(self, name: str, **labels: str) -> float:
        """Read a counter."""
        name = f"firsthop_transceiver_{name}_total"
        return self.metrics._registry.get_sample_value(name, labels) or 0.0


class Bot:
    """A server of WebSockets that takes notes."""

    def __init__(self) -> None:
        self.sockets: list[ServerConnection] = []
        self.frames: list[Frame] = []
        self.closed: list[int] = []
        #: What requests are answered with instead of a WebSocket.
        self.refusals: list[Response] = []
        self.requests = 0
        self._news = asyncio.Event()
        self._server: Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Where it is."""
        return f"ws://127.0.0.1:{self.port}/ws"

    async def start(self) -> None:
        """Listen."""
        self._server = await serve(
            self._serve, "127.0.0.1", self.port, process_request=self._answer
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def stop(self) -> None:
        """Listen no more, and say goodbye to who is there (RFC 6455: 1001)."""
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until what came made `condition` true."""
        async with asyncio.timeout(20):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def says(self, *frames: Frame | bytes | str) -> None:
        """Send frames, or messages as they are, once somebody is there."""
        await self.until(lambda: self.sockets)
        for frame in frames:
            raw = frame if isinstance(frame, bytes | str) else encode(frame)
            await self.sockets[-1].send(raw)

    async def tells(self, kind: str, **data: object) -> None:
        """Send a message of RTVI."""
        message = {"label": "rtvi-ai", "type": kind, "data": data}
        await self.says(Message(json.dumps(message)))

    def told(self, kind: str) -> list[Mapping[str, Any]]:
        """The messages of RTVI that came, of a type."""
        data = [json.loads(frame.data) for frame in self.frames if isinstance(frame, Message)]
        return [message for message in data if message["type"] == kind]

    def _answer(self, _: ServerConnection, request: Request) -> Response | None:
        self.requests += 1
        self._news.set()
        return self.refusals.pop(0) if self.refusals else None

    async def _serve(self, socket: ServerConnection) -> None:
        self.sockets.append(socket)
        self._news.set()
        try:
            while True:
                message = await socket.recv()
                assert isinstance(message, bytes)
                self.frames.append(decode(message))
                self._news.set()
        except ConnectionClosed as closed:
            self.closed.append(closed.rcvd.code if closed.rcvd else 1006)
            self._news.set()


@pytest.fixture
async def bot() -> AsyncIterator[Bot]:
    """Yield a bot that listens."""
    bot = Bot()
    await bot.start()
    yield bot
    await bot.stop()


@asynccontextmanager
async def calling(url: str, **settings: Any) -> AsyncIterator[tuple[Talk, asyncio.Task[None]]]:
    """Serve a connected call with the bot at `url`; in the end it hangs up."""
    talk = Talk()
    talk.connect()
    made = PipecatBackend(PipecatSettings(url=url, api_key=KEY, **settings), talk.metrics)
    serving = asyncio.create_task(made.serve(talk))
    try:
        yield talk, serving
    finally:
        talk.end()
        if not serving.cancelled():
            await serving


def refused(talk: Talk) -> float:
    """How often nobody was there."""
    return talk.count("backend_connections", result="unreachable")


async def finish(serving: asyncio.Task[None]) -> None:
    """Wait until the backend has done with the call."""
    async with asyncio.timeout(20):
        await serving


# Sound and messages.


async def test_the_bot_hears_the_caller_and_learns_which_call_it_is(bot: Bot) -> None:
    async with calling(bot.url) as (talk, _):
        talk.deliver(AudioFrame(pcm=b"\x01\x02" * 320, at_ms=0))
        await bot.until(lambda: Audio(b"\x01\x02" * 320, RATE) in bot.frames)
        assert bot.sockets[0].request is not None
        headers = bot.sockets[0].request.headers
        assert headers["X-Firsthop-Call"] == talk.id
        assert headers["Authorization"] == f"Bearer {KEY}"
        assert talk.count("backend_connections", result="opened") == 1


async def test_what_the_bot_says_is_played_as_it_comes_and_ends_by_itself(bot: Bot) -> None:
    async with calling(bot.url) as (talk, _):
        await bot.says(PIECE)
        await talk.until("play", 0, PIECE.pcm, False)
        await bot.says(PIECE)
        await talk.until("play", 0, b"", True)
        assert talk.heard(0) == 2 * PIECE.pcm
        await bot.says(PIECE)
        await talk.until("play", 1, PIECE.pcm, False)


async def test_what_the_bot_says_stops_when_it_is_interrupted(bot: Bot) -> None:
    async with calling(bot.url) as (talk, _):
        await bot.tells("bot-started-speaking")
        await bot.says(PIECE)
        await talk.until("play", 0, PIECE.pcm, False)
        await bot.says(Interruption(), PIECE)
        await talk.until("play", 1, PIECE.pcm, False)
        assert talk.notes.index(("flush",)) < talk.notes.index(("play", 1, b"", False))
        assert talk.count("interruptions") == 1
        assert Interruption() not in bot.frames


async def test_an_interruption_of_silence_is_none(bot: Bot) -> None:
    async with calling(bot.url) as (talk, _):
        await bot.says(Interruption(), PIECE)
        await talk.until("play", 0, PIECE.pcm, False)
        assert ("flush",) not in talk.notes
        assert talk.count("interruptions") == 0


async def test_a_bot_stops_when_the_client_has_stopped_it(bot: Bot) -> None:
    async with calling(bot.url) as (talk, _):
        await bot.says(PIECE)
        await talk.until("play", 0, PIECE.pcm, False)
        await talk.interrupt()
        await bot.until(lambda: Interruption() in bot.frames)
        # What was on its way belongs to what nobody wants to hear.
        await bot.says(PIECE, Interruption(), PIECE, PIECE)
        await talk.until("play", 1, PIECE.pcm, False)
        await talk.until("play", 1, b"", True)
        assert talk.heard(1) == 2 * PIECE.pcm


async def test_words_are_said_with_their_sound(bot: Bot) -> None:
    async with calling(bot.url) as (talk, _):
        talk.plays = False
        await bot.tells("bot-output", text="Good morning.", segment_id=1, will_be_spoken=True)
        await bot.says(PIECE)
        await talk.until("play", 0, PIECE.pcm, False)
        await bot.tells("bot-output", text="And good night.", segment_id=2, will_be_spoken=True)
        await bot.says(PIECE)
        await talk.until("play", 0, b"", True)
        assert talk._playbacks[0].text == "Good morning. And good night."


async def test_messages_of_rtvi_go_both_ways(bot: Bot) -> None:
    async with calling(bot.url) as (talk, _):
        message = {"label": "rtvi-ai", "type": "client-ready", "id": "7", "data": {}}
        talk.says(**message)
        await bot.until(lambda: bot.told("client-ready"))
        assert bot.told("client-ready") == [message]
        await bot.tells("bot-ready", version="2.2.0")
        await talk.sees(lambda: talk.sent("bot-ready"))
        assert talk.sent("bot-ready")[0]["data"] == {"version": "2.2.0"}


async def test_a_bot_learns_that_a_realtime_client_is_ready_and_what_it_writes(bot: Bot) -> None:
    async with calling(bot.url) as (talk, _):
        await bot.until(lambda: bot.told("client-ready"))
        content = [{"type": "input_text", "text": "Hello."}]
        item = {"type": "message", "role": "user", "content": content}
        talk.says(type="conversation.item.create", item=item)
        talk.says(type="response.create")
        await bot.until(lambda: bot.told("send-text"))
        assert bot.told("send-text")[0]["data"]["content"] == "Hello."
        talk.says(type="my.own.event")
        talk.says(type="input_audio_buffer.commit", event_id="mine")
        await talk.sees(talk.failed)
        assert talk.failed() == ["unsupported_by_backend"]
        assert talk.count("events_refused", code="unsupported_by_backend") == 2


async def test_other_messages_are_nobodys(bot: Bot) -> None:
    async with calling(bot.url) as (talk, _):
        await bot.says(Text("hello"), Message('{"type": "response.done"}'), PIECE)
        await talk.until("play", 0, PIECE.pcm, False)
        assert not talk.sent("response.done")
        assert talk.count("backend_garbage") == 0


# What goes wrong.


@pytest.mark.parametrize(
    "message",
    [
        b"garbage",
        "text",
        encode(Message("{")),
        encode(Message("[" * 100_000)),
        encode(Message('{"label": "rtvi-ai"}')),
        encode(Message('{"label": "rtvi-ai", "type": "x", "data": NaN}')),
        encode(Message('{"label": "rtvi-ai", "type": "x", "d": "' + "x" * 200_000 + '"}')),
        encode(Audio(b"abc", RATE)),
    ],
    ids=["no frame", "text", "no JSON", "deep", "no type", "no number", "large", "half a sample"],
)
async def test_garbage_is_counted_and_left_out(bot: Bot, message: bytes | str) -> None:
    async with calling(bot.url) as (talk, _):
        await bot.says(message, PIECE)
        await talk.until("play", 0, PIECE.pcm, False)
        assert talk.count("backend_garbage") == 1
        assert not talk.failed()


async def test_a_bot_that_only_sends_garbage_is_given_up(bot: Bot) -> None:
    async with calling(bot.url) as (talk, serving):
        await bot.says(*[b"garbage"] * 101)
        await finish(serving)
        assert talk.failed() == ["backend_garbage"]
        assert talk.count("backend_disconnections", reason="garbage") == 1


async def test_a_message_of_absurd_size_ends_the_call(bot: Bot) -> None:
    async with calling(bot.url) as (talk, serving):
        await bot.says(PIECE, Audio(bytes(2 * 1024 * 1024), RATE))
        await finish(serving)
        assert talk.failed() == ["backend_lost"]


async def test_a_bot_that_does_not_read_misses_sound_and_the_call_goes_on(bot: Bot) -> None:
    with capture_logs() as logs:
        async with calling(bot.url) as (talk, serving):
            await bot.until(lambda: bot.sockets)
            bot.sockets[0].transport.pause_reading()
            for second in range(1000):
                # More than all buffers on the way hold, a little at a time.
                talk.deliver(AudioFrame(pcm=bytes(2 * RATE), at_ms=1000 * second))
                await asyncio.sleep(0)
            await until(lambda: "backend.slow" in [log["event"] for log in logs], "it is noticed")
            bot.sockets[0].transport.resume_reading()
            talk.deliver(AudioFrame(pcm=PIECE.pcm, at_ms=1_000_000))
            await bot.until(lambda: PIECE in bot.frames)
            assert len(bot.frames) < 1000
            assert not serving.done()


async def test_a_bot_that_hangs_up_is_heard_out(bot: Bot) -> None:
    async with calling(bot.url) as (talk, serving):
        talk.plays = False
        await bot.says(PIECE)
        await bot.sockets[0].close()
        await talk.until("play", 0, b"", True)
        assert talk.heard(0) == PIECE.pcm
        assert not serving.done()
        talk.settle(0, 40)
        await finish(serving)
        assert not talk.failed()
        assert talk.count("backend_disconnections", reason="hung_up") == 1


@pytest.mark.parametrize(("code", "reason"), [(None, "lost"), (1011, "closed"), (1012, "closed")])
async def test_a_bot_that_is_lost_ends_the_call_and_the_client_learns_it(
    bot: Bot, code: int | None, reason: str
) -> None:
    async with calling(bot.url) as (talk, serving):
        await bot.says(PIECE)
        await talk.until("play", 0, PIECE.pcm, False)
        if code is None:
            bot.sockets[0].transport.abort()
        else:
            await bot.sockets[0].close(code)
        await finish(serving)
        assert talk.failed() == ["backend_lost"]
        assert talk.count("backend_disconnections", reason=reason) == 1
        # It is another conversation that another connection would begin.
        assert bot.requests == 1


async def test_a_bot_that_comes_up_late_is_found() -> None:
    bot = Bot()
    await bot.start()
    await bot.stop()
    async with calling(bot.url) as (talk, _):
        talk.deliver(AudioFrame(pcm=PIECE.pcm, at_ms=0))
        await until(lambda: refused(talk), "it was not there")
        await bot.start()
        await bot.until(lambda: PIECE in bot.frames)
        assert not talk.failed()
    await bot.stop()


async def test_a_bot_that_is_not_there_ends_the_call_and_the_client_learns_it() -> None:
    bot = Bot()
    await bot.start()
    await bot.stop()
    async with calling(bot.url, connect_timeout_seconds=0.5) as (talk, serving):
        await finish(serving)
        assert talk.failed() == ["backend_unreachable"]
        assert refused(talk) >= 2


async def test_a_bot_that_refuses_is_not_asked_again(bot: Bot) -> None:
    bot.refusals = [Response(401, "Unauthorized", Headers())]
    async with calling(bot.url) as (talk, serving):
        await finish(serving)
        assert talk.failed() == ["backend_refused"]
        assert bot.requests == 1
        assert KEY not in str(talk.notes)


async def test_a_redirect_is_not_followed(bot: Bot) -> None:
    elsewhere = Bot()
    await elsewhere.start()
    location = Headers({"Location": elsewhere.url})
    bot.refusals = [Response(307, "Temporary Redirect", location)]
    async with calling(bot.url) as (talk, serving):
        await finish(serving)
        assert talk.failed() == ["backend_refused"]
    assert elsewhere.requests == 0
    await elsewhere.stop()


# The end.


async def test_the_bot_learns_that_the_caller_is_gone(bot: Bot) -> None:
    async with calling(bot.url) as (talk, serving):
        await bot.says(PIECE)
        await talk.until("play", 0, PIECE.pcm, False)
        talk.end()
        await finish(serving)
        await bot.until(lambda: bot.closed == [1000])


async def test_the_bot_learns_that_the_transceiver_stops(bot: Bot) -> None:
    before = asyncio.all_tasks()
    async with calling(bot.url) as (talk, serving):
        await bot.says(PIECE)
        await talk.until("play", 0, PIECE.pcm, False)
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        await bot.until(lambda: bot.closed == [1000])
        left = {task.get_name() for task in asyncio.all_tasks() - before}
        assert not [name for name in left if talk.id in name]


async def test_a_call_that_ends_while_the_bot_is_looked_for_leaves_nothing() -> None:
    bot = Bot()
    await bot.start()
    await bot.stop()
    async with calling(bot.url, connect_timeout_seconds=60) as (talk, serving):
        await until(lambda: refused(talk), "it was not there")
        talk.end()
        await finish(serving)
        assert not talk.failed()


async def test_a_line_that_takes_nothing_loses_the_sound_and_not_the_call(bot: Bot) -> None:
    async with calling(bot.url) as (talk, _):
        talk.overloads = 1
        await bot.says(PIECE, PIECE)
        await talk.until("play", 1, PIECE.pcm, False)


def test_the_settings_name_it() -> None:
    found = backends.load(Settings(backend="pipecat", pipecat=PipecatSettings(sample_rate=24_000)))
    assert isinstance(found, PipecatBackend)
    assert found.traits.sample_rate == 24_000
    assert found.traits.detects_turns and found.traits.rtvi and found.traits.early
    assert not found.traits.realtime
