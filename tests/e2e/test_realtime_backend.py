"""Calls with a Realtime server behind them: sound, turns, tools, and servers that go wrong."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator

import pytest
import soxr
from websockets.asyncio.client import connect

from e2e import sound
from e2e.peer import Event, Peer
from e2e.processes import Edge, Process
from e2e.waiting import until
from realtime_server import Dialect, RealtimeServer, Reply, tone

KEY = "sk-swordfish-swordfish-swordfish"
#: What servers of a dialect are called in the settings, and hear turns by themselves or not.
SERVERS: dict[str, tuple[Dialect, bool]] = {
    "openai": ("openai", True),
    "beta": ("beta", True),
    "basic": ("basic", True),
    "openai without vad": ("openai", False),
}
LONG = tone(440, 8000)
#: The caller's own process looks at all that it heard no more often: it has to speak, too.
_LISTEN_S = 0.2


@pytest.fixture(params=SERVERS)
async def server(request: pytest.FixtureRequest) -> AsyncIterator[RealtimeServer]:
    """Yield a server of each kind."""
    dialect, vad = SERVERS[request.param]
    async with RealtimeServer(dialect=dialect, vad=vad, api_key=KEY) as server:
        yield server


@pytest.fixture
async def openai() -> AsyncIterator[RealtimeServer]:
    """Yield a server of the one kind that has everything."""
    async with RealtimeServer(api_key=KEY) as server:
        yield server


async def start(edge: Edge, server: RealtimeServer, **more: object) -> Process:
    """Start an edge in front of a server."""
    lacks = [] if server.vad else ["vad", "semantic_vad"]
    settings = {
        "realtime__url": server.url,
        "realtime__dialect": server.dialect,
        "realtime__api_key": KEY,
        "realtime__lacks": lacks,
        **more,
    }
    return await edge.dev("realtime", **settings)


def heard_ms(peer: Peer) -> float:
    """How long the sound is that was heard so far, from the first of it to the last."""
    first, last = sound.audible(peer.heard)
    return (last - first) / sound.RATE * 1000


def ids(peer: Peer, kind: str) -> list[str]:
    """The responses that the client was told of by events of a type."""
    return [event["response"]["id"] for event in peer.events if event["type"] == kind]


def kinds(peer: Peer) -> list[str]:
    return [event["type"] for event in peer.events]


async def test_the_caller_is_heard_and_hears_the_answer(
    edge: Edge, peer: Peer, server: RealtimeServer
) -> None:
    server.replies = [Reply(pcm=tone(600, 1500), transcript="Six hundred hertz.")]
    process = await start(edge, server)
    await peer.call(process.url)
    peer.microphone.say(sound.speech(sound.SENTENCE))
    done = await peer.event("response.done")
    assert done["response"]["status"] == "completed"
    await peer.event("output_audio_buffer.stopped")

    first, last = sound.audible(peer.heard)
    assert last - first == pytest.approx(1.5 * sound.RATE, rel=0.1)
    assert sound.loudest_hertz(peer.heard[first:last]) == pytest.approx(600, abs=5)
    transcribed = await peer.event("conversation.item.input_audio_transcription.completed")
    assert transcribed["transcript"] == server.transcript
    started = await peer.event("input_audio_buffer.speech_started")
    assert transcribed["item_id"] == started["item_id"]
    assert server.connections[0].headers["authorization"] == f"Bearer {KEY}"
    assert "response.output_audio.delta" not in kinds(peer)


async def test_an_interrupted_answer_is_cut_short_where_it_was_heard_to(
    edge: Edge, peer: Peer, server: RealtimeServer
) -> None:
    server.replies = [Reply(pcm=LONG, speed=4), Reply(pcm=tone(600, 500))]
    process = await start(edge, server)
    await peer.call(process.url)
    peer.microphone.say(sound.speech(sound.SENTENCE))
    said = (await peer.event("output_audio_buffer.started"))["response_id"]
    await until(lambda: heard_ms(peer) > 1000, "a second of it is heard", every=_LISTEN_S)

    peer.microphone.say(sound.speech(sound.OTHER_SENTENCE))
    cleared = await peer.event("output_audio_buffer.cleared")
    assert cleared["response_id"] == said
    truncated = await peer.event("conversation.item.truncated")
    assert 1000 < truncated["audio_end_ms"] < 8000
    # What the client's buffers hold is the only thing between the two; what was sent before it was
    # cut may still be on its way.
    await until(
        lambda: abs(heard_ms(peer) - truncated["audio_end_ms"]) < 500,
        f"{truncated['audio_end_ms']} ms of it are heard",
        every=_LISTEN_S,
    )
    if server.dialect != "basic":
        told = await server.event("conversation.item.truncate")
        assert told["audio_end_ms"] == truncated["audio_end_ms"]
        assert told["item_id"] == truncated["item_id"]
    await peer.event("response.done", lambda event: event["response"]["status"] == "completed")
    await until(
        lambda: ids(peer, "response.done") == ids(peer, "response.created"), "all have ended"
    )
    # The client is told of no error that it has not caused.
    assert not [event for event in peer.events if event["type"] == "error"]


async def test_a_function_is_called_and_its_output_answered(
    edge: Edge, peer: Peer, server: RealtimeServer
) -> None:
    server.replies = [Reply(call=("clock", '{"zone": "UTC"}')), Reply(transcript="Noon.")]
    process = await start(edge, server)
    await peer.call(process.url)
    tool = {"type": "function", "name": "clock", "parameters": {"type": "object"}}
    peer.send({"type": "session.update", "session": {"type": "realtime", "tools": [tool]}})
    await peer.event("session.updated")
    peer.send({"type": "response.create"})
    called = await peer.event(
        "response.output_item.done", lambda event: event["item"]["type"] == "function_call"
    )
    assert called["item"]["name"] == "clock"
    assert called["item"]["arguments"] == '{"zone": "UTC"}'
    await peer.event("response.done")
    output = {"type": "function_call_output", "call_id": called["item"]["call_id"], "output": "12"}
    peer.send({"type": "conversation.item.create", "item": output})
    peer.send({"type": "response.create"})
    spoken = await peer.event("response.output_audio_transcript.done")
    assert spoken["transcript"] == "Noon."
    assert server.connections[0].session["tools"] == [tool]
    created = await server.event("conversation.item.create")
    assert created["item"] == output


async def test_a_call_outlives_its_server(edge: Edge, peer: Peer, openai: RealtimeServer) -> None:
    openai.replies = [Reply(transcript="Before."), Reply(pcm=LONG, hold_ms=500), Reply()]
    process = await start(edge, openai)
    await peer.call(process.url)
    peer.microphone.say(sound.speech(sound.SENTENCE))
    await peer.event("output_audio_buffer.stopped")
    peer.send({"type": "response.create"})
    created = await peer.event(
        "response.created", lambda e: e["response"]["id"] != done(peer)[0]["id"]
    )
    await until(lambda: peer.events[-1]["type"] == "output_audio_buffer.started", "it speaks")

    await openai.stop()
    error = (await peer.event("error"))["error"]
    assert (error["type"], error["code"]) == ("server_error", "backend_closed")
    failed = await peer.event("response.done", lambda e: e["response"]["status"] == "failed")
    assert failed["response"]["id"] == created["response"]["id"]
    assert failed["response"]["status_details"]["error"]["code"] == "backend_closed"
    peer.send({"type": "response.create", "event_id": "too-early"})
    refused = await peer.event("error", lambda e: e["error"]["event_id"] == "too-early")
    assert refused["error"]["code"] == "backend_unreachable"

    await openai.start()
    await openai.until(lambda: len(openai.connections) == 2, "another connection")
    told = openai.connections[1]
    await openai.until(lambda: len(told.items) >= 2, "what was said before")
    texts = [part["text"] for item in told.items for part in item.get("content", [])]
    assert texts[:2] == [openai.transcript, "Before."]
    before = len(peer.events)
    peer.microphone.say(sound.speech(sound.SENTENCE))
    await until(
        lambda: "output_audio_buffer.stopped" in [e["type"] for e in peer.events[before:]],
        "an answer from the new connection",
    )
    metrics = await process.metrics()
    assert metrics("transceiver_backend_reconnections_total") == 1
    assert metrics("transceiver_backend_connections_total", result="opened") == 2
    added = [e["item"]["id"] for e in peer.events if e["type"] == "conversation.item.added"]
    assert len(set(added)) == len(added)


def done(peer: Peer) -> list[Event]:
    return [event["response"] for event in peer.events if event["type"] == "response.done"]


async def responses(peer: Peer, count: int) -> None:
    """Wait until so many responses have ended."""
    await until(lambda: len(done(peer)) >= count, f"{count} responses end")


async def test_a_wrong_key_is_told_once_without_the_key(
    edge: Edge, peer: Peer, openai: RealtimeServer
) -> None:
    wrong = "sk-wrong-wrong-wrong-wrong"
    process = await start(edge, openai, realtime__api_key=wrong)
    await peer.call(process.url)
    error = (await peer.event("error"))["error"]
    assert error["code"] == "backend_refused"
    peer.send({"type": "response.create", "event_id": "mine"})
    await peer.event("error", lambda event: event["error"]["event_id"] == "mine")
    assert openai.handshakes == 1
    assert len([event for event in peer.events if event["type"] == "error"]) == 2
    assert wrong not in str(peer.events) and KEY not in str(peer.events)
    log = process.log.read_text()
    assert wrong not in log and "unauthorized" in log
    assert (await process.metrics())(
        "transceiver_backend_connections_total", result="unauthorized"
    ) == 1


async def test_garbage_from_a_server_is_told_and_the_call_goes_on(
    edge: Edge, peer: Peer, server: RealtimeServer
) -> None:
    server.replies = [Reply(fate="garbage", pcm=tone(600, 500)), Reply(transcript="Fine again.")]
    process = await start(edge, server)
    await peer.call(process.url)
    for number in (1, 2):
        peer.send({"type": "response.create"})
        await responses(peer, number)
    assert (await peer.event("error"))["error"]["code"] == "backend_garbage"
    assert [response["status"] for response in done(peer)] == ["completed", "completed"]
    assert (await process.metrics())("transceiver_backend_garbage_total") >= 5


async def test_a_client_cancels_what_is_said(
    edge: Edge, peer: Peer, server: RealtimeServer
) -> None:
    server.replies = [Reply(pcm=LONG, speed=2)]
    process = await start(edge, server)
    await peer.call(process.url)
    peer.send({"type": "response.create"})
    await peer.event("output_audio_buffer.started")
    await until(lambda: heard_ms(peer) > 0, "it is heard", every=_LISTEN_S)
    peer.send({"type": "response.cancel"})
    peer.send({"type": "output_audio_buffer.clear"})
    cancelled = await peer.event("response.done")
    assert cancelled["response"]["status"] == "cancelled"
    await peer.event("output_audio_buffer.cleared")
    truncated = await peer.event("conversation.item.truncated")
    assert truncated["audio_end_ms"] < 8000
    assert not [event for event in peer.events if event["type"] == "error"]


async def test_a_websocket_caller_gets_the_servers_sound_as_events(
    edge: Edge, openai: RealtimeServer
) -> None:
    pcm = tone(600, 1500)
    openai.replies = [Reply(pcm=pcm)]
    process = await start(edge, openai)
    url = f"ws://localhost:{process.http_port}/v1/realtime?model=gpt-realtime"
    async with connect(url, proxy=None) as socket:

        async def event(kind: str) -> Event:
            heard = []
            async for text in socket:
                told: Event = json.loads(text)
                if told["type"] == "response.output_audio.delta":
                    heard.append(base64.b64decode(told["delta"]))
                if told["type"] == kind:
                    return {**told, "heard": b"".join(heard)}
            raise AssertionError(f"the connection ended before a {kind}")

        await event("session.created")
        said = soxr.resample(sound.speech(sound.SENTENCE), sound.RATE, 24_000).astype("<i2")
        spoken = said.tobytes() + bytes(48_000)
        for at in range(0, len(spoken), 4800):
            audio = base64.b64encode(spoken[at : at + 4800]).decode()
            await socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
        done = await event("response.output_audio.done")
        assert done["heard"] == pcm
        assert (await event("response.done"))["response"]["status"] == "completed"
        assert openai.connections[0].query == {"model": "gpt-realtime"}
