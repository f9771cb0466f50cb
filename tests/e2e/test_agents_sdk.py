"""The unmodified Agents SDK in an unmodified browser: firsthop is a Realtime server to it.

Two kinds of who answers: an agent of ours, and another Realtime server behind `backend: realtime`.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from playwright.async_api import Error as PageError

from e2e import http, network, sound
from e2e.agents import BRIEF, GREETING, STORY
from e2e.pages import origin
from e2e.processes import Edge, Process
from e2e.sdk_page import SdkPage, client_secret, sdk_page
from e2e.sound import RATE, Samples
from e2e.waiting import until
from firsthop.speech.espeak import Voice
from realtime_server import RealtimeServer, Reply

#: A browser wants a core to itself, or what is heard of it stumbles.
pytestmark = pytest.mark.browser

API_KEY = "an-api-key-of-24-letters"
BACKEND_KEY = "sk-of-the-model-behind-it"
WEATHER = "It is sunny in Lisbon today, and the wind comes from the west."
ORDER = "Your order left the warehouse on Monday and arrives tomorrow evening."
SENTENCE = sound.speech(sound.SENTENCE)
#: Short, since nothing is asked of it but an answer.
QUESTION = sound.speech("What is new today?")
NEVER_MIND = sound.speech("Never mind.")

STOPPED = "output_audio_buffer.stopped"
CLEARED = "output_audio_buffer.cleared"
TRUNCATED = "conversation.item.truncated"

both_answerers = pytest.mark.parametrize("answerer", ["agent", "backend"])


@dataclass
class Shop:
    """A page with a session, and who answers it."""

    process: Process
    page: SdkPage
    key: str
    server: RealtimeServer | None

    async def call(self, **options: object) -> None:
        """Place a call."""
        await self.page.connect(self.process.url, self.key, **options)


@asynccontextmanager
async def open_shop(
    edge: Edge,
    folder: Path,
    answerer: str,
    agent: str,
    replies: Sequence[Reply] = (),
    microphone: Samples | None = None,
) -> AsyncIterator[Shop]:
    """Open the page; `agent` answers or, with the same words, a Realtime server."""
    port = network.ports()
    settings: dict[str, Any] = {
        "signaling__allowed_origins": [origin(port)],
        "signaling__api_keys": [API_KEY],
    }
    server = None
    if answerer == "backend":
        server = RealtimeServer(api_key=BACKEND_KEY, replies=replies)
        await server.start()
        settings |= {"realtime__url": server.url, "realtime__api_key": BACKEND_KEY}
    try:
        backend = f"agents:{agent}" if server is None else "realtime"
        process = await edge.dev(backend, **settings)
        key = await client_secret(process.url, API_KEY)
        async with sdk_page(folder, port, microphone) as page:
            yield Shop(process, page, key, server)
    finally:
        if server is not None:
            await server.stop()


@both_answerers
async def test_a_conversation_with_tools_and_an_interruption(
    edge: Edge, tmp_path: Path, answerer: str
) -> None:
    replies = [
        await spoken(GREETING),
        Reply(call=("get_weather", '{"city": "Lisbon"}')),
        await spoken(WEATHER),
        Reply(call=("find_order", '{"number": 42}')),
        await spoken(ORDER),
        await spoken(STORY),
        await spoken(BRIEF),
    ]
    async with open_shop(edge, tmp_path, answerer, "clerk", replies) as shop:
        page = shop.page
        await shop.call()
        assert await page.count("session.updated") >= 1
        greeting = await answer_to(page, page.do("send", {"type": "response.create"}))
        await check_that_it_says(greeting, GREETING)

        report = await answer_to(page, page.say(QUESTION))
        assert await page.log("tools") == [{"name": "get_weather", "arguments": {"city": "Lisbon"}}]
        await check_that_it_says(report, WEATHER)

        report = await answer_to(page, have_order_found(page))
        assert (await page.log("tools"))[1:] == [
            {"name": "find_order", "arguments": {"number": 42}}
        ]
        await check_that_it_says(report, ORDER)

        await page.say(QUESTION)
        story = await page.event("output_audio_buffer.started", number=4)
        await until_audible(page, story["receivedMs"])
        last_words = await answer_to(page, page.say(SENTENCE))
        await check_that_speech_interrupted(page, story)
        await check_that_it_says(last_words, BRIEF)

        history = await page.history()
        check_the_history(history)
        if shop.server is None:
            # Of the story, the client is told no more than was heard.
            told = history[8]["content"][0]["transcript"]
            assert STORY.startswith(told)
            assert len(told) < len(STORY)
        else:
            check_what_the_backend_was_told(shop.server, await page.event(TRUNCATED))
        await page.check_that_all_was_understood()
        await page.do("close")
        await check_that_no_call_is_left(shop.process)


@both_answerers
async def test_the_application_interrupts_and_writes(
    edge: Edge, tmp_path: Path, answerer: str
) -> None:
    texts = ("What time is it in the harbour?", "And when does the ferry leave?")
    replies = [await spoken(STORY)] + [await spoken(f"You wrote: {text}") for text in texts]
    async with open_shop(edge, tmp_path, answerer, "storyteller", replies) as shop:
        page = shop.page
        await shop.call()
        await page.do("send", {"type": "response.create"})
        story = await page.event("output_audio_buffer.started")
        await until_audible(page, story["receivedMs"])

        await page.do("interrupt")
        cleared = await page.event(CLEARED)
        assert cleared["response_id"] == story["response_id"]
        truncated = await page.event(TRUNCATED)
        assert 0 < truncated["audio_end_ms"] < 10_000

        for text in texts:
            await check_that_it_says(
                await answer_to(page, page.do("write", text)), f"You wrote: {text}"
            )
        history = await page.history()
        roles = ["assistant", "user", "assistant", "user", "assistant"]
        assert [role(item) for item in history] == roles

        await page.do("forget", history[1]["itemId"])
        deleted = await page.event("conversation.item.deleted")
        assert deleted["item_id"] == history[1]["itemId"]
        assert [role(item) for item in await page.history()] == [roles[0], *roles[2:]]
        await page.check_that_all_was_understood()


async def test_push_to_talk(edge: Edge, tmp_path: Path) -> None:
    replies = [await spoken(GREETING), await spoken(BRIEF)]
    async with open_shop(edge, tmp_path, "backend", "receptionist", replies) as shop:
        page = shop.page
        await shop.call(config={"audio": {"input": {"turnDetection": None}}})
        for words in (GREETING, BRIEF):
            await page.say(NEVER_MIND)
            await page.do("send", {"type": "input_audio_buffer.clear"})
            await page.event("input_audio_buffer.cleared")
            await page.say(QUESTION)
            await page.do("send", {"type": "input_audio_buffer.commit"})
            await page.event("input_audio_buffer.committed")
            answer = await answer_to(page, page.do("send", {"type": "response.create"}))
            await check_that_it_says(answer, words)
        assert await page.count("response.created") == 2
        assert await page.count("input_audio_buffer.speech_started") == 0
        await page.check_that_all_was_understood()


async def test_new_instructions_and_a_muted_microphone(edge: Edge, tmp_path: Path) -> None:
    replies = [await spoken(GREETING)]
    async with open_shop(edge, tmp_path, "backend", "receptionist", replies) as shop:
        page = shop.page
        await shop.call()
        await page.do("instruct", "Speak like a pirate.")
        updated = await page.event(
            "session.updated",
            lambda event: event["session"]["instructions"] == "Speak like a pirate.",
        )
        tools = [tool["name"] for tool in updated["session"]["tools"]]
        assert tools == ["get_weather", "find_order"]

        await page.do("mute", True)
        await page.say(NEVER_MIND)
        await page.do("mute", False)
        await check_that_it_says(await answer_to(page, page.say(QUESTION)), GREETING)
        assert await page.count("input_audio_buffer.speech_started") == 1
        assert shop.server is not None
        told = shop.server.connections[-1].session["instructions"]
        assert told == "Speak like a pirate."
        await page.check_that_all_was_understood()


async def test_the_microphone_that_the_sdk_opens_itself(edge: Edge, tmp_path: Path) -> None:
    microphone = np.concatenate((sound.silence(6), SENTENCE, sound.silence(60)))
    async with open_shop(edge, tmp_path, "agent", "receptionist", microphone=microphone) as shop:
        await shop.call(voice=False)
        answer = await answer_to(shop.page, asyncio.sleep(0))
        await check_that_it_says(answer, GREETING)
        await shop.page.check_that_all_was_understood()


@both_answerers
async def test_a_session_by_websocket(edge: Edge, tmp_path: Path, answerer: str) -> None:
    # The story is still being made when it is interrupted.
    story = replace(await spoken(STORY), hold_ms=5000)
    replies = [await spoken(f"You wrote: {sound.SENTENCE}"), story]
    async with open_shop(edge, tmp_path, answerer, "storyteller", replies) as shop:
        page = shop.page
        await page.connect_by_socket(shop.process.url, shop.key)
        await page.do("write", sound.SENTENCE)
        done = await page.event("response.done")
        assert done["response"]["status"] == "completed"
        await check_that_it_says(await received(page), f"You wrote: {sound.SENTENCE}")

        # Here it is the SDK that says how much was heard.
        await page.do("send", {"type": "response.create"})
        delta = await page.event(
            "response.output_audio.delta",
            lambda event: event["response_id"] != done["response"]["id"],
        )
        await page.do("interrupt")
        truncated = await page.event(TRUNCATED)
        assert truncated["item_id"] == delta["item_id"]
        assert await page.do("interruptions") == 1
        await page.check_that_all_was_understood()
        await page.do("close")
        await check_that_no_call_is_left(shop.process)


async def test_a_hang_up_by_the_server_disconnects_the_session(edge: Edge, tmp_path: Path) -> None:
    async with open_shop(edge, tmp_path, "agent", "silent") as shop:
        page = shop.page
        call_id = await page.connect(shop.process.url, shop.key)
        async with http.client() as client:
            response = await client.post(
                f"{shop.process.url}/v1/realtime/calls/{call_id}/hangup",
                headers={"Authorization": f"Bearer {API_KEY}"},
            )
        assert response.is_success

        async def disconnected() -> bool:
            states: list[str] = await page.log("connections")
            return states == ["connecting", "connected", "disconnected"]

        await until(disconnected, "the session is disconnected")


async def test_a_forged_secret_is_refused_in_words_that_users_see(
    edge: Edge, tmp_path: Path
) -> None:
    async with open_shop(edge, tmp_path, "agent", "silent") as shop:
        with pytest.raises(PageError, match="failed with status 401: the client secret"):
            await shop.page.connect(shop.process.url, "ek_" + "A" * 80)
        assert (await shop.process.metrics())("transceiver_sessions") == 0


async def spoken(text: str) -> Reply:
    """Return a reply that says `text`, as agents do."""
    return Reply(transcript=text, pcm=await Voice().speak(text, 24_000))


async def words(text: str) -> Samples:
    """Return `text` as agents say it, without silence around it."""
    samples: Samples = np.frombuffer(await Voice().speak(text, RATE), dtype="<i2")
    first, last = sound.audible(samples)
    return samples[first:last]


async def answer_to(page: SdkPage, act: Awaitable[object]) -> Samples:
    """Do something, and return what is heard from then on until an answer is over."""
    already, since = await page.count(STOPPED), await page.now_ms()
    await act
    await page.event(STOPPED, number=already + 1)
    return await page.heard(since)


async def received(page: SdkPage) -> Samples:
    """Return all sound that came in events."""
    pcm = b"".join(base64.b64decode(piece) for piece in await page.log("audio"))
    samples: Samples = soxr.resample(np.frombuffer(pcm, dtype="<i2"), 24_000, RATE)
    return samples


async def have_order_found(page: SdkPage) -> None:
    """Ask, and let the tool that takes its time return."""
    await page.say(QUESTION)
    await until(lambda: tool_calls(page, 2), "the second tool was called")
    await page.do("finish", ORDER)


async def until_audible(page: SdkPage, from_ms: float) -> None:
    """Wait until the agent was heard for a second."""

    async def heard() -> bool:
        first, last = sound.audible(await page.heard(from_ms))
        return last - first > RATE

    await until(heard, "the agent is heard", every=0.1)


async def tool_calls(page: SdkPage, count: int) -> bool:
    return len(await page.log("tools")) == count


async def check_that_it_says(heard: Samples, text: str) -> None:
    other = STORY if text != STORY else GREETING
    said, not_said = await words(text), await words(other)
    sound.check_words(heard, said, not_said[: len(said)])


async def check_that_speech_interrupted(page: SdkPage, story: dict[str, Any]) -> None:
    cleared = await page.event(CLEARED)
    assert cleared["response_id"] == story["response_id"]
    truncated = await page.event(TRUNCATED)
    stopped = await page.event(
        "input_audio_buffer.speech_stopped",
        lambda event: event["receivedMs"] > cleared["receivedMs"],
    )
    told = await page.heard(story["receivedMs"] - 100, stopped["receivedMs"])
    first, last = sound.audible(told)
    # The agent pauses between its sentences for up to half a second.
    assert abs((last - first) * 1000 / RATE - truncated["audio_end_ms"]) < 700
    quiet = await page.heard(cleared["receivedMs"] + 500, stopped["receivedMs"])
    assert len(quiet) > 2 * RATE
    assert sound.level(quiet) < 30


def check_the_history(history: Sequence[Any]) -> None:
    assert [role(item) for item in history] == [
        "assistant",
        "user",
        "get_weather",
        "assistant",
        "user",
        "find_order",
        "assistant",
        "user",
        "assistant",
        "user",
        "assistant",
    ]
    assert history[2]["output"] == WEATHER
    assert history[5]["output"] == ORDER
    assert history[0]["content"][0]["transcript"] == GREETING
    assert history[3]["content"][0]["transcript"] == WEATHER
    assert history[10]["content"][0]["transcript"] == BRIEF


def role(item: Any) -> str:
    """Who an item of the history is by, or which tool's it is."""
    return str(item["role"] if item["type"] == "message" else item["name"])


def check_what_the_backend_was_told(server: RealtimeServer, truncated: dict[str, Any]) -> None:
    outputs = [
        event["item"]
        for event in server.events("conversation.item.create")
        if event["item"]["type"] == "function_call_output"
    ]
    assert [item["output"] for item in outputs] == [WEATHER, ORDER]
    [truncate] = server.events("conversation.item.truncate")
    assert truncate["item_id"] == truncated["item_id"]
    assert truncate["audio_end_ms"] == truncated["audio_end_ms"]
    tools = json.dumps(server.connections[-1].session["tools"])
    assert "get_weather" in tools
    assert "find_order" in tools


async def check_that_no_call_is_left(process: Process) -> None:
    async def ended() -> bool:
        metrics = await process.metrics()
        over = metrics("transceiver_calls_ended_total") == 1
        return over and metrics("transceiver_sessions") == 0

    await until(ended, "the call has ended and no session is left")
