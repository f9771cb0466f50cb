"""An unmodified Pipecat client in an unmodified browser: firsthop is a SmallWebRTC bot to it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.async_api import Error as PageError
from playwright.async_api import Response

from e2e import http, network, sound
from e2e.agents import GREETING, STORY
from e2e.pages import origin
from e2e.pipecat_page import PipecatPage, pipecat_page
from e2e.processes import Edge, Process
from e2e.sdk_page import client_secret
from e2e.waiting import until
from firsthop.speech.espeak import Voice

#: A browser wants a core to itself, or what is heard of it stumbles.
pytestmark = pytest.mark.browser

API_KEY = "an-api-key-of-24-letters"
WEATHER = "It is sunny in Lisbon today, and the wind comes from the west."
NEVER_MIND = sound.speech("Never mind.")
OFFER = Path(__file__).parents[1] / "offer.sdp"

#: What an application does for the user to see: each callback in its order.
TURN = [
    "onUserStartedSpeaking",
    "onUserStoppedSpeaking",
    "onBotLlmStarted",
    "onBotLlmStopped",
    "onBotStartedSpeaking",
    "onBotStoppedSpeaking",
]


async def test_a_conversation_at_api_offer(edge: Edge, tmp_path: Path) -> None:
    port = network.ports()
    process = await edge.dev("agents:clerk", signaling__allowed_origins=[origin(port)])
    async with pipecat_page(tmp_path, port) as page:
        answers = statuses(page)
        ready = await page.connect(process.url)
        assert ready == {"version": "2.1.0", "about": {"library": "firsthop"}}
        # Camera and screen stay where the client looks for them, and send nothing.
        assert await page.do("directions") == ["sendrecv", "inactive", "inactive"]

        await page.say(NEVER_MIND)
        stopped = await page.note("onBotStoppedSpeaking")
        await check_that_it_says(page, GREETING, until_ms=stopped["atMs"])
        assert [note["name"] for note in await page.notes(*TURN)] == TURN
        sentences = ["Good morning, this is the harbour office.", "How can I help you today?"]
        assert await page.given("onBotTranscript") == sentences
        assert "".join(await page.given("onBotTtsText")) == GREETING
        output = await page.given("onBotOutput")
        assert [(told["segment_id"], told["spoken_status"]) for told in output] == [
            (1, "new"),
            (2, "new"),
            (1, "completed"),
            (2, "completed"),
        ]

        # An offer that is repeated gets the same answer; one of a new connection, a new call.
        call_id = await page.do("callId")
        await page.do("repeatOffer")
        assert await page.do("callId") == call_id
        await page.do("reconnect")
        assert await page.do("callId") != call_id
        await until(lambda: page.do("canSend"), "the client is connected again")
        await page.act("sendText", "Blue boats.")
        await page.note("onBotTranscript", lambda text: text == "You wrote: Blue boats.")
        await page.note("onBotStartedSpeaking", number=2)

        await page.act("disconnect")
        await check_that_no_call_is_left(process, "client_closed", "hung_up")
        # The client sends its candidates, and is thanked.
        assert {"POST": 200, "PATCH": 200}.items() <= answers.items()
        assert await page.given("onError") == []


async def test_a_session_of_start_with_a_tool(edge: Edge, tmp_path: Path) -> None:
    port = network.ports()
    origins = {"signaling__allowed_origins": [origin(port)], "signaling__api_keys": [API_KEY]}
    process = await edge.dev("agents:butler", **origins)
    microphone = np.concatenate((sound.silence(2), NEVER_MIND, sound.silence(60)))
    async with pipecat_page(tmp_path, port, microphone) as page:
        tool = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}}
        key = await client_secret(process.url, API_KEY)
        await page.connect(
            process.url,
            start=True,
            key=key,
            microphone=True,
            told={"session": {"tools": [tool]}},
            tools={"get_weather": WEATHER},
        )
        final = await page.note("onUserTranscript", lambda told: told["final"])
        assert final["given"]["text"] == "Never mind."
        assert (await page.given("onUserTranscript"))[0]["text"] == "Never"

        assert await page.act("sendClientRequest", "name", {}) == {"butler": "James"}
        await page.note("onServerMessage", lambda told: told == {"type": "tea.served", "sugar": 2})

        story = await page.note("onBotStartedSpeaking")
        await until_audible(page, story["atMs"])
        await page.act("sendText", "How is the weather?")
        used = await page.note("onLLMFunctionCallStopped")
        assert used["given"]["function_name"] == "get_weather"
        assert used["given"]["result"] == WEATHER
        interrupted = await page.note("onBotStoppedSpeaking")
        assert interrupted["atMs"] <= used["atMs"]
        stopped = await page.note("onBotStoppedSpeaking", number=2)
        await check_that_it_says(page, WEATHER, interrupted["atMs"], stopped["atMs"])
        # Of the story, nothing was heard whole that is not told so.
        completed = [told["text"] for told in await page.given("onBotOutput") if told["spoken"]]
        assert completed == [WEATHER]

        await page.act("disconnectBot")
        await page.note("onBotDisconnected")
        await page.note("onDisconnected")
        await check_that_no_call_is_left(process, "hung_up")


async def test_a_client_without_a_key_is_refused_at_once(edge: Edge, tmp_path: Path) -> None:
    port = network.ports()
    origins = {"signaling__allowed_origins": [origin(port)], "signaling__api_keys": [API_KEY]}
    process = await edge.dev("agents:silent", **origins)
    async with pipecat_page(tmp_path, port) as page:
        for start in (False, True):
            refused = await refusal(page, process.url, start=start, key="ek_" + "A" * 80)
            assert "401" in refused or "Unauthorized" in refused
        [error] = await page.given("onError")
        assert error["fatal"] is True
        # A session that makes no sense is told by where the client begins, and by where it calls.
        for start in (False, True):
            told = {"session": {"type": "transcription"}}
            key = await client_secret(process.url, API_KEY)
            refused = await refusal(page, process.url, start=start, key=key, told=told)
            assert "400" in refused or "Bad Request" in refused
        assert len(await page.given("onError")) == 2
        assert (await process.metrics())("transceiver_sessions") == 0


async def test_a_client_that_finds_no_room_comes_again(edge: Edge, tmp_path: Path) -> None:
    port = network.ports()
    origins = {"signaling__allowed_origins": [origin(port)]}
    process = await edge.dev("agents:silent", transceiver__max_sessions=1, **origins)
    async with http.client(base_url=process.url) as other:
        body = {"sdp": OFFER.read_text(), "type": "offer", "pc_id": None, "restart_pc": False}
        call_id = (await other.post("/api/offer", json=body)).json()["pc_id"]
        async with pipecat_page(tmp_path, port) as page:
            connecting = asyncio.create_task(page.connect(process.url))
            await until(lambda: refused_offers(process), "there was no room")
            await other.post(f"/v1/realtime/calls/{call_id}/hangup")
            assert (await connecting)["version"]
            assert await page.do("state") == "ready"


def statuses(page: PipecatPage) -> dict[str, int]:
    """Return the last status of each method that the page will have asked the calls' HTTP by."""
    seen: dict[str, int] = {}

    def note(response: Response) -> None:
        if response.url.endswith("/api/offer"):
            seen[response.request.method] = response.status

    page.page.on("response", note)
    return seen


async def check_that_it_says(
    page: PipecatPage, text: str, from_ms: float = 0, until_ms: float = 1e12
) -> None:
    """Assert that `text` is heard, and not the story instead."""
    # What is sent last is played a little later.
    heard = await page.heard(from_ms, until_ms + 500)
    said, story = await words(text), await words(STORY)
    sound.check_words(heard, said, story[: len(said)])


async def words(text: str) -> sound.Samples:
    """Return `text` as agents say it, without silence around it."""
    samples: sound.Samples = np.frombuffer(await Voice().speak(text, sound.RATE), dtype="<i2")
    first, last = sound.audible(samples)
    return samples[first:last]


async def until_audible(page: PipecatPage, from_ms: float) -> None:
    """Wait until the agent was heard for half a second."""

    async def heard() -> bool:
        first, last = sound.audible(await page.heard(from_ms))
        return last - first > sound.RATE // 2

    await until(heard, "the agent is heard", every=0.1)


async def refusal(page: PipecatPage, url: str, **options: Any) -> str:
    """Place a call that is refused, and return what the client says of it."""
    try:
        await page.connect(url, **options)
    except PageError as error:
        return error.message
    raise AssertionError("it was not refused")


async def refused_offers(process: Process) -> bool:
    return (await process.metrics())("signaling_offers_refused_total", code="overloaded") > 0


async def check_that_no_call_is_left(process: Process, *reasons: str) -> None:
    """Wait until calls have ended for these reasons, one for each, and none is left."""

    async def over() -> bool:
        metrics = await process.metrics()
        ended = metrics.by("reason", "transceiver_calls_ended_total")
        return metrics("transceiver_sessions") == 0 and ended == dict.fromkeys(reasons, 1)

    await until(over, f"the calls have ended: {reasons}")
