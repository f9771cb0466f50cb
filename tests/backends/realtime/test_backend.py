"""Calls behind a real WebSocket server that does what it is told to."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from calls.conversation import parsed
from doubles import Line
from firsthop import backends
from firsthop.backends.realtime import RealtimeBackend
from firsthop.call import AudioFrame, Message, Sound, SpeechEnded, SpeechStarted
from firsthop.config import AgentSettings, RealtimeSettings, Settings
from firsthop.errors import ConfigError
from firsthop.realtime.events import as_json
from firsthop.telemetry.metrics import Metrics
from realtime_server import Dialect, Fate, RealtimeServer, Reply, tone

KEY = "sk-swordfish"
Event = Mapping[str, Any]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reach the server here whatever the developer's network is."""
    monkeypatch.setenv("NO_PROXY", "*")


class Talk(Line):
    """A call in progress, and what became of it."""

    def __init__(self) -> None:
        super().__init__(sample_rate=24_000)
        self.configured = {
            "type": "realtime",
            "model": "firsthop-realtime",
            "audio": {"input": {"turn_detection": {"type": "server_vad"}}},
        }
        self.metrics = Metrics()
        #: Whether what is said is played at once.
        self.plays = True

    def _play(self, utterance: int, sound: Sound, *, complete: bool) -> None:
        super()._play(utterance, sound, complete=complete)
        if complete and self.plays:
            ms = len(self.heard(utterance)) // 48
            asyncio.get_running_loop().call_soon(lambda: self.settle(utterance, ms))

    def _send(self, event: Mapping[str, Any]) -> None:
        event = parsed(as_json({"event_id": "event_1", **event}))
        super()._send(event)

    def _flush(self) -> None:
        super()._flush()
        for utterance in list(self._playbacks):
            settle = functools.partial(self.settle, utterance, 60, interrupted=True)
            asyncio.get_running_loop().call_soon(settle)

    def sent(self, kind: str) -> list[Event]:
        """The events of a type that the client was sent."""
        sent = [note[1] for note in self.notes if note[0] == "send"]
        return [event for event in sent if isinstance(event, dict) and event["type"] == kind]

    def has(self, kind: str, count: int) -> bool:
        """Whether the client was sent so many events of a type."""
        return len(self.sent(kind)) >= count

    def about(self, response_id: str) -> list[str]:
        """The types of the events about a response, in their order."""
        sent = [note[1] for note in self.notes if note[0] == "send"]
        events = [event for event in sent if isinstance(event, dict)]
        return [
            event["type"]
            for event in events
            if response_id in (event.get("response_id"), event.get("response", {}).get("id"))
        ]

    def failed(self, code: str) -> list[object]:
        """The ids of the events that errors with a code were about."""
        return [note[3] for note in self.notes if note[:2] == ("fail", code)]

    async def sees(self, condition: Callable[[], object], seconds: float = 20) -> None:
        """Wait until something asked of the call made `condition` true."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._noted.clear()
                await self._noted.wait()

    def says(self, kind: str, **fields: object) -> None:
        """Send an event as the client."""
        self.deliver(Message({"type": kind, **fields}))

    def count(self, name: str, **labels: str) -> float:
        """Read a counter."""
        found = self.metrics._registry.get_sample_value(
            f"firsthop_transceiver_backend_{name}_total", labels
        )
        return found or 0.0


@asynccontextmanager
async def calling(url: str, **settings: Any) -> AsyncIterator[Talk]:
    """Serve a call with the server at `url`; in the end it hangs up."""
    talk = Talk()
    backend = RealtimeBackend(RealtimeSettings(url=url, api_key=KEY, **settings), talk.metrics)
    await backend.prepare()
    serving = asyncio.create_task(backend.serve(talk))
    try:
        yield talk
    finally:
        talk.end()
        await serving


@pytest.fixture
async def server() -> AsyncIterator[RealtimeServer]:
    """Yield a server that has everything."""
    async with RealtimeServer(api_key=KEY) as server:
        yield server


@pytest.mark.parametrize("odd", [False, True])
async def test_what_the_server_says_is_played_whole(server: RealtimeServer, odd: bool) -> None:
    pcm = tone(300, 1234)
    server.replies = [Reply(pcm=pcm, piece_ms=70, odd=odd, transcript="Three hundred.")]
    async with calling(server.url) as talk:
        talk.says("response.create", event_id="e")
        await talk.sees(lambda: talk.sent("response.done"))
        await talk.sees(lambda: ("play", 0, b"", True) in talk.notes)
        assert talk.heard(0) == pcm
        assert not talk.sent("response.output_audio.delta")
        [transcript] = talk.sent("response.output_audio_transcript.done")
        assert transcript["transcript"] == "Three hundred."
        assert talk.sent("rate_limits.updated") or await server.event("response.create")


async def test_the_caller_is_heard_from_the_first_frame(server: RealtimeServer) -> None:
    pcm = tone(300, 1000)
    async with calling(server.url) as talk:
        for at in range(0, len(pcm), 960):
            talk.deliver(AudioFrame(pcm=pcm[at : at + 960], at_ms=at // 48))
        await server.until(
            lambda: server.connections and len(server.connections[0].heard) == len(pcm), "all"
        )
        assert server.connections[0].heard == pcm
        await talk.sees(lambda: talk.sent("input_audio_buffer.speech_started"))


async def test_speech_interrupts_and_the_server_learns_what_was_heard(
    server: RealtimeServer,
) -> None:
    server.replies = [Reply(pcm=tone(300, 3000))]
    async with calling(server.url) as talk:
        talk.plays = False
        talk.says("response.create")
        await talk.sees(lambda: talk.sent("response.done"))
        talk.deliver(AudioFrame(pcm=tone(300, 20), at_ms=0))
        await talk.sees(lambda: talk.sent("conversation.item.truncated"))
        told = await server.event("conversation.item.truncate")
        assert told["audio_end_ms"] == 60
        sent = [note[1] for note in talk.notes if note[0] == "send"]
        kinds = [event["type"] for event in sent if isinstance(event, dict)]
        started = kinds.index("input_audio_buffer.speech_started")
        assert started < kinds.index("conversation.item.truncated")


async def test_turns_of_firsthop_reach_a_server_that_hears_none() -> None:
    async with (
        RealtimeServer(vad=False) as server,
        calling(server.url, lacks=("vad", "semantic_vad")) as talk,
    ):
        words = tone(300, 20)
        talk.deliver(AudioFrame(pcm=words, at_ms=0), SpeechStarted(at_ms=0))
        talk.deliver(AudioFrame(pcm=words, at_ms=20))
        talk.deliver(SpeechEnded(at_ms=40, audio=words, item_id="item_x"))
        await talk.sees(lambda: talk.sent("response.done"))
        kinds = [event["type"] for event in server.received]
        assert kinds == ["session.update", "input_audio_buffer.commit", "response.create"]
        assert server.connections[0].heard == words + words
        [committed] = talk.sent("input_audio_buffer.committed")
        assert committed["item_id"] == "item_x"


@pytest.mark.parametrize(
    ("settings", "asked", "model"),
    [({}, None, None), ({}, "client's", "client's"), ({"model": "ours"}, "client's", "ours")],
)
async def test_the_model_is_the_settings_or_else_the_clients(
    server: RealtimeServer, settings: dict[str, str], asked: str | None, model: str | None
) -> None:
    talk = Talk()
    if asked is not None:
        talk.configured = {**talk.configured, "model": asked}
    backend = RealtimeBackend(
        RealtimeSettings.model_validate({"url": server.url, "api_key": KEY, **settings}), Metrics()
    )
    serving = asyncio.create_task(backend.serve(talk))
    await server.event("session.update")
    talk.end()
    await serving
    assert server.connections[0].query.get("model") == model
    assert server.connections[0].headers["authorization"] == f"Bearer {KEY}"


REPLIES = [
    Reply(pcm=tone(300, 200), piece_ms=50),
    Reply(text="In writing."),
    Reply(call=("clock", '{"zone": "UTC"}')),
]


@pytest.mark.parametrize("fate", ["fine", "abort", "garbage", "no_done"])
@pytest.mark.parametrize("dialect", ["openai", "beta", "basic"])
async def test_clients_see_the_contract_whatever_the_server_speaks_and_does(
    dialect: Dialect, fate: Fate
) -> None:
    async with (
        RealtimeServer(dialect=dialect, api_key=KEY) as server,
        calling(server.url, dialect=dialect) as talk,
    ):
        last = Reply(pcm=tone(300, 500), fate=fate, hold_ms=300)
        server.replies = [*REPLIES, last]
        for count in (1, 2, 3):
            talk.says("response.create")
            await talk.sees(functools.partial(talk.has, "response.done", count))
        talk.says("response.create")
        if fate == "no_done":
            await talk.sees(functools.partial(talk.has, "response.content_part.added", 3))
            talk.says("response.cancel")
        else:
            server.release()
        await talk.sees(functools.partial(talk.has, "response.done", 4))
        statuses = [event["response"]["status"] for event in talk.sent("response.done")]
        ended = {"abort": "failed", "no_done": "cancelled"}
        assert statuses == ["completed"] * 3 + [ended.get(fate, "completed")]
        # `Talk` holds each event to its schema; this is their order.
        for created, done in zip(
            talk.sent("response.created"), talk.sent("response.done"), strict=True
        ):
            assert created["response"]["id"] == done["response"]["id"]
            kinds = talk.about(created["response"]["id"])
            assert kinds[0] == "response.created" and kinds[-1] == "response.done"
            for kind in [kind for kind in kinds if kind.endswith(".added")]:
                opened, closed = kinds.index(kind), kinds.index(kind.replace(".added", ".done"))
                assert opened < closed
        added = [event["item"]["id"] for event in talk.sent("conversation.item.added")]
        settled = [event["item"]["id"] for event in talk.sent("conversation.item.done")]
        assert added == settled == [*dict.fromkeys(added)]


# What goes wrong.


@pytest.mark.parametrize(
    ("status", "reason", "code"),
    [
        (400, "refused", "backend_refused"),
        (401, "unauthorized", "backend_refused"),
        (403, "unauthorized", "backend_refused"),
        (404, "not_found", "backend_refused"),
        (302, "refused", "backend_refused"),
    ],
)
async def test_a_refusal_that_lasts_is_told_once_and_not_tried_again(
    server: RealtimeServer, status: int, reason: str, code: str
) -> None:
    server.refuse = status
    async with calling(server.url) as talk:
        talk.says("response.create", event_id="e")
        await talk.sees(lambda: talk.failed(code))
        await talk.sees(lambda: "e" in [*talk.failed(code), *talk.failed("backend_unreachable")])
        talk.says("response.create", event_id="f")
        await talk.sees(lambda: "f" in talk.failed("backend_unreachable"))
        # Whoever connects has given up.
        links = [task for task in asyncio.all_tasks() if task.get_name() == f"link {talk.id}"]
        await asyncio.wait_for(asyncio.gather(*links), 20)
        assert talk.failed(code).count(None) == 1
        assert server.handshakes == 1
        assert talk.count("connections", result=reason) == 1
        assert "10.1.2.3" not in str(talk.notes) and KEY not in str(talk.notes)


@pytest.mark.parametrize(
    ("status", "reason"), [(429, "rate_limited"), (500, "server_error"), (503, "server_error")]
)
async def test_a_refusal_that_may_pass_is_told_once_and_tried_again(
    server: RealtimeServer, status: int, reason: str
) -> None:
    server.refuse = status
    async with calling(server.url) as talk:
        await server.until(lambda: server.handshakes >= 2, "another try")
        server.refuse = None
        await server.event("session.update")
        talk.says("response.create")
        await talk.sees(lambda: talk.sent("response.done"))
        assert len([note for note in talk.notes if note[0] == "fail"]) == 1
        assert talk.count("connections", result=reason) >= 2
        assert talk.count("connections", result="opened") == 1


async def test_a_server_that_is_not_there_is_waited_for(server: RealtimeServer) -> None:
    await server.stop()
    async with calling(server.url) as talk:
        await talk.sees(lambda: talk.failed("backend_unreachable"))
        await server.start()
        await server.event("session.update")
        assert talk.count("connections", result="unreachable") >= 1


async def test_a_server_that_does_not_answer_is_not_waited_for(server: RealtimeServer) -> None:
    server.hang = True
    async with calling(server.url, connect_timeout_seconds=0.1) as talk:
        await talk.sees(lambda: talk.failed("backend_unreachable"))
        assert talk.count("connections", result="timeout") >= 1


async def test_a_port_that_speaks_something_else_is_given_up() -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        async with calling(f"ws://127.0.0.1:{port}/") as talk:
            await talk.sees(lambda: talk.failed("backend_unreachable"))
            assert talk.count("connections", result="protocol") == 1


def self_signed(folder: Path) -> ssl.SSLContext:
    """Return a TLS context with a certificate that nobody trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate").write_bytes(certificate.public_bytes(Encoding.PEM))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key").write_bytes(private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate", folder / "key")
    return context


async def test_a_server_whom_nobody_vouches_for_is_not_shown_the_key(tmp_path: Path) -> None:
    async def nobody(_: ServerConnection) -> None:
        raise AssertionError("no connection is accepted")

    async with serve(nobody, "127.0.0.1", 0, ssl=self_signed(tmp_path)) as first:
        port = next(iter(first.sockets)).getsockname()[1]
        async with calling(f"wss://localhost:{port}/") as talk:
            await talk.sees(lambda: talk.failed("backend_unreachable"))
            assert talk.count("connections", result="tls") == 1


async def test_a_key_does_not_follow_a_redirect(server: RealtimeServer) -> None:
    async def nobody(_: ServerConnection) -> None:
        raise AssertionError("no connection is accepted")

    def elsewhere(socket: ServerConnection, _: Request) -> Response:
        response = socket.respond(307, "")
        response.headers["Location"] = server.url
        return response

    async with serve(nobody, "127.0.0.1", 0, process_request=elsewhere) as first:
        port = next(iter(first.sockets)).getsockname()[1]
        async with calling(f"ws://127.0.0.1:{port}/", dialect="azure") as talk:
            await talk.sees(lambda: talk.failed("backend_refused"))
    assert server.handshakes == 0


@pytest.mark.parametrize(
    ("fate", "reason"), [("close", "closed"), ("abort", "lost"), ("stall", "stalled")]
)
async def test_a_response_fails_when_its_connection_does_and_the_call_goes_on(
    server: RealtimeServer, fate: Any, reason: str
) -> None:
    server.replies = [Reply(fate=fate), Reply(transcript="Again.")]
    async with calling(server.url, silence_timeout_seconds=0.2) as talk:
        talk.says("response.create")
        await talk.sees(lambda: talk.sent("response.done"))
        [done] = talk.sent("response.done")
        assert done["response"]["status"] == "failed"
        assert talk.failed("backend_closed") == [None]
        # What had been said plays out.
        await talk.sees(lambda: ("play", 0, b"", True) in talk.notes)
        await server.until(lambda: len(server.connections) == 2, "another connection")
        await server.until(lambda: server.connections[1].received, "its session")
        talk.says("response.create")
        await talk.sees(lambda: len(talk.sent("response.done")) == 2)
        assert talk.sent("response.done")[1]["response"]["status"] == "completed"
        assert talk.count("disconnections", reason=reason) == 1
        assert talk.count("reconnections") == 1
        assert "10.1.2.3" not in str(talk.notes)


async def test_what_a_new_connection_is_told_comes_before_what_waited(
    server: RealtimeServer,
) -> None:
    async with calling(server.url) as talk:
        await server.event("session.update")
        content = [{"type": "input_text", "text": "hello"}]
        item = {"id": "item_1", "type": "message", "role": "user", "content": content}
        talk.remembered["item_1"] = item
        await server.stop()
        await talk.sees(lambda: talk.failed("backend_closed"))
        talk.says("conversation.item.create", item={**item, "id": "item_2"})
        await server.start()
        await server.until(lambda: len(server.connections) == 2, "another connection")
        told = server.connections[1]
        await server.until(lambda: len(told.items) == 2, "both items")
        assert [event["type"] for event in told.received] == [
            "session.update",
            "conversation.item.create",
            "conversation.item.create",
        ]
        assert [item["id"] for item in told.items] == ["item_1", "item_2"]


async def test_a_server_that_only_sends_garbage_is_given_up(server: RealtimeServer) -> None:
    async with calling(server.url) as talk:
        await server.event("session.update")
        for _ in range(101):
            await server.send("{")
        await server.until(lambda: len(server.connections) == 2, "another connection")
        assert talk.count("disconnections", reason="garbage") == 1
        assert talk.count("garbage") == 101


async def test_a_message_of_absurd_size_ends_its_connection(server: RealtimeServer) -> None:
    async with calling(server.url) as talk:
        await server.event("session.update")
        await server.send("x" * (16 * 1024 * 1024 + 1))
        await talk.sees(lambda: talk.failed("backend_garbage"))
        assert talk.count("disconnections", reason="garbage") == 1


@pytest.mark.parametrize("code", [1008, 3000, 4001])
async def test_a_refusal_after_the_handshake_is_one(code: int) -> None:
    async def refuse(socket: ServerConnection) -> None:
        await socket.send('{"type": "error", "error": {"message": "wrong key: ' + KEY + '"}}')
        await socket.close(code, "no")

    async with serve(refuse, "127.0.0.1", 0) as first:
        port = next(iter(first.sockets)).getsockname()[1]
        async with calling(f"ws://127.0.0.1:{port}/") as talk:
            await talk.sees(lambda: talk.failed("backend_refused"))
            [error] = talk.sent("error")
            assert error["error"]["message"] == "wrong key: ***"


@pytest.mark.parametrize(
    "data",
    [
        "[" * 100_000,
        '{"type": "x", "y": ' + "[" * 100_000,
        '{"type": "x", "y": NaN}',
        '{"type": "x", "y": 1e999}',
        '{"type": "x"} {}',
        b'{"type": "x"}',
    ],
    ids=["deep", "deep within", "no number", "too large a number", "two", "binary"],
)
async def test_what_is_no_event_is_counted_and_left_out(
    server: RealtimeServer, data: str | bytes
) -> None:
    async with calling(server.url) as talk:
        await server.event("session.update")
        await server.send(data)
        await server.send({"type": "rate_limits.updated", "rate_limits": []})
        await talk.sees(lambda: talk.sent("rate_limits.updated"))
        assert talk.count("garbage") == 1
        assert not talk.sent("x")


async def test_a_line_that_takes_nothing_loses_the_sound_and_not_the_call(
    server: RealtimeServer,
) -> None:
    async with calling(server.url) as talk:
        await server.event("session.update")
        talk.overloads = 10_000
        talk.says("response.create")
        await talk.sees(lambda: talk.sent("response.done"))


# Settings.


def test_without_a_url_it_is_the_agent_service_of_the_same_settings() -> None:
    key = "a-key-of-the-agent-service-01"
    agent = AgentSettings(listen="127.0.0.1:9000", api_keys=(key,))
    server = Settings(agent=agent).server_of_realtime
    assert server.url == "ws://127.0.0.1:9000/v1/realtime?model=firsthop-agent"
    assert server.api_key == key
    with pytest.raises(ConfigError, match="FIRSTHOP_REALTIME__URL") as error:
        RealtimeBackend(RealtimeSettings(), Metrics())
    assert error.value.key == "realtime.url"


@pytest.mark.parametrize(
    "settings",
    [
        {"turns": "backend", "lacks": ("vad",)},
        {"turns": "firsthop", "dialect": "basic"},
        {"dialect": "basic", "lacks": ("vad",)},
    ],
)
def test_turns_that_nobody_could_find_are_refused(settings: dict[str, Any]) -> None:
    realtime = RealtimeSettings(url="ws://localhost", **settings)
    with pytest.raises(ConfigError) as error:
        backends.load(Settings(backend="realtime", realtime=realtime))
    assert error.value.key == "realtime.turns"


@pytest.mark.parametrize(
    ("settings", "detects"),
    [
        ({}, True),
        ({"turns": "firsthop"}, False),
        ({"lacks": ("vad",)}, False),
        ({"dialect": "basic"}, True),
    ],
)
def test_the_backend_hears_turns_if_it_can_and_may(settings: dict[str, Any], detects: bool) -> None:
    realtime = RealtimeSettings(url="ws://localhost", **settings)
    traits = backends.load(Settings(backend="realtime", realtime=realtime)).traits
    assert traits.detects_turns is detects
    assert traits.realtime and traits.early and traits.sample_rate == 24_000
