"""Calls with a real Pipecat bot behind them, the one of examples/pipecat_bot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e import network, sound
from e2e.pages import origin
from e2e.peer import Event, Peer
from e2e.pipecat_bot import GREETING, Bot
from e2e.pipecat_page import pipecat_page
from e2e.processes import Edge, Process
from e2e.waiting import until

#: A browser wants a core to itself, or what is heard of it stumbles; so does a bot, which paces
#: itself.
pytestmark = pytest.mark.browser

KEY = "swordfish-swordfish-swordfish"
SENTENCE = "The quick brown fox jumps."
OTHER_SENTENCE = "Every morning seven boats."
STORY = (
    "Long ago there was a lighthouse keeper who counted every ship that passed his rock. "
    "In spring he counted fishing boats, in summer the white sails of the merchants."
)


@pytest.fixture(scope="module")
def bot_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bot]:
    """Yield a bot for all tests here: it takes seconds to start."""
    bot = Bot(tmp_path_factory.mktemp("bot") / "bot.log")
    yield bot
    bot.kill()


@pytest.fixture
async def bot(bot_process: Bot) -> Bot:
    """Return the bot when it takes calls."""
    await bot_process.start()
    return bot_process


async def start(edge: Edge, url: str, **more: object) -> Process:
    """Start an edge in front of a bot."""
    return await edge.dev("pipecat", pipecat__url=url, pipecat__api_key=KEY, **more)


def rtvi(kind: str, **data: object) -> Event:
    return {"label": "rtvi-ai", "type": kind, "id": f"my-{kind}", "data": data}


def count(peer: Peer, kind: str) -> int:
    return [event["type"] for event in peer.events].count(kind)


async def test_a_realtime_client_talks_with_a_bot(edge: Edge, peer: Peer, bot: Bot) -> None:
    process = await start(edge, bot.url)
    await peer.call(process.url)
    said = await peer.event("response.output_audio_transcript.done")
    assert said["transcript"] == GREETING
    await peer.event("output_audio_buffer.stopped")
    greeted = len(peer.heard)

    words = sound.speech(SENTENCE)
    peer.microphone.say(words)
    started = await peer.event("input_audio_buffer.speech_started")
    turn = await peer.event("conversation.item.done", lambda e: e["item"]["role"] == "user")
    assert turn["item"]["id"] == started["item_id"]
    await until(lambda: count(peer, "output_audio_buffer.stopped") == 2, "the bot said it again")
    heard, other = peer.heard[greeted:], sound.speech(OTHER_SENTENCE)
    # A bot paces itself: on a machine that is busy, words come with holes.
    assert sound.similarity(heard, words) > sound.similarity(heard, other) + 0.15
    statuses = [e["response"]["status"] for e in peer.events if e["type"] == "response.done"]
    assert statuses == ["completed", "completed"]
    assert not count(peer, "error")

    call_id = peer.location.rpartition("/")[2]
    await peer.connection.close()
    await until(lambda: f"call {call_id}: the pipeline has ended" in bot.log, "the bot knows")
    assert f"call {call_id}: the caller is gone" in bot.log
    assert KEY not in process.log.read_text()


async def test_a_bot_is_interrupted_and_speaks_rtvi(edge: Edge, peer: Peer, bot: Bot) -> None:
    process = await start(edge, bot.url)
    await peer.call(process.url)
    peer.send(rtvi("client-ready", version="2.2.0", about={"library": "test"}))
    ready = await peer.event("bot-ready")
    assert (ready["label"], ready["id"]) == ("rtvi-ai", "my-client-ready")
    await peer.event("output_audio_buffer.started")
    peer.send({"type": "output_audio_buffer.clear"})
    await peer.event("bot-interrupted")

    peer.send(rtvi("send-text", content=STORY))
    await peer.event("bot-output", lambda e: "lighthouse" in e["data"]["text"])
    read = len(peer.heard)
    await until(lambda: sound.audible(peer.heard[read:])[1] > sound.RATE, "a second of it")
    peer.microphone.say(sound.speech(SENTENCE))
    truncated = await peer.event(
        "conversation.item.truncated", lambda event: event["audio_end_ms"] > 1000
    )
    assert truncated["audio_end_ms"] < 8000
    silent_from = len(peer.heard)
    await peer.event("input_audio_buffer.speech_stopped")
    # What the client's jitter buffer held may still be heard.
    assert sound.audible(peer.heard[silent_from:])[1] < 0.5 * sound.RATE
    assert count(peer, "bot-ready") == 1 and not count(peer, "error")


async def test_a_client_of_pipecat_talks_with_a_bot_of_pipecat(
    edge: Edge, bot: Bot, tmp_path: Path
) -> None:
    port = network.ports()
    process = await start(edge, bot.url, signaling__allowed_origins=[origin(port)])
    async with pipecat_page(tmp_path, port) as page:
        ready = await page.connect(process.url)
        assert ready["about"]["library"] == "pipecat-ai"
        await page.note("onBotStoppedSpeaking")
        assert {told["text"] for told in await page.given("onBotOutput")} == {GREETING}
        heard = await page.heard()
        assert sound.similarity(heard, sound.speech(GREETING)) > sound.DIFFERENT
        assert await page.given("onError") == []


async def test_a_bot_that_dies_ends_the_call_and_so_does_one_that_is_not_there(
    edge: Edge, peer: Peer, bot: Bot
) -> None:
    process = await start(edge, bot.url, pipecat__connect_timeout_seconds=0.5)
    await peer.call(process.url)
    await peer.event("output_audio_buffer.started")
    bot.kill()
    error = (await peer.event("error"))["error"]
    assert (error["type"], error["code"]) == ("server_error", "backend_lost")
    await until(lambda: peer.state == "closed", "the call is over")

    async with Peer() as another:
        await another.call(process.url)
        assert (await another.event("error"))["error"]["code"] == "backend_unreachable"
        await until(lambda: another.state == "closed", "the other call is over")
    metrics = await process.metrics()
    assert metrics("transceiver_backend_disconnections_total", reason="lost") == 1
    assert metrics("transceiver_backend_connections_total", result="opened") == 1
