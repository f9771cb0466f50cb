"""An unmodified browser on the demo page: what a user sees and hears."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from e2e import sound
from e2e.chromium import DemoPage, demo_page
from e2e.network import HOST
from e2e.processes import Edge, Process
from e2e.sound import RATE
from e2e.waiting import until

#: A browser wants a core to itself, or what is heard of it stumbles.
pytestmark = pytest.mark.browser

API_KEY = "a-key-for-this-test-and-no-other"
#: Of the fake microphone once it has said its words: longer than any call here.
REST = sound.silence(90)


async def test_the_agent_greets_then_plays_back_what_was_said(edge: Edge, tmp_path: Path) -> None:
    process = await edge.dev()
    said = sound.speech(sound.SENTENCE)
    async with demo_page(tmp_path, np.concatenate((sound.silence(14), said, REST))) as page:
        await page.open(process.url)
        await page.start()
        await check_that_the_relay_is_the_only_way(page, edge)

        await page.event("output_audio_buffer.started")
        assert await page.reaches("agent-speaking", "listening") == "agent-speaking"
        greeted = await page.event("output_audio_buffer.stopped")
        transcript = await page.event("response.output_audio_transcript.done")
        assert transcript["transcript"].startswith("Hello.")
        greeting = await page.heard(to_ms=greeted["receivedMs"])
        first, last = sound.audible(greeting)
        assert last - first > 5 * RATE
        log = await page.page.inner_text("#log")
        assert "I am a parrot" in log

        await page.event("output_audio_buffer.stopped", number=2)
        reply = await page.heard(greeted["receivedMs"])
        sound.check_words(reply, said, sound.speech(sound.OTHER_SENTENCE))


async def test_speech_interrupts_the_agent_who_knows_how_far_it_came(
    edge: Edge, tmp_path: Path
) -> None:
    process = await edge.dev()
    said = sound.speech(sound.SENTENCE)
    async with demo_page(tmp_path, np.concatenate((sound.silence(4), said, REST))) as page:
        await page.open(process.url)
        await page.start()
        started = await page.event("response.created")
        truncated = await page.event("conversation.item.truncated")
        cleared = await page.event("output_audio_buffer.cleared")
        stopped = await page.event("input_audio_buffer.speech_stopped")
        assert cleared["response_id"] == started["response"]["id"]

        retrieved = await page.event("conversation.item.retrieved")
        heard = retrieved["item"]["content"][0]["transcript"]
        log = await page.page.inner_text("#log")
        assert heard.startswith("Hello.")
        assert f"{heard} …" in log
        assert "You interrupted the agent after" in log
        assert "at any time" not in log, "nobody heard it"

        first, last = sound.audible(await page.heard(to_ms=stopped["receivedMs"]))
        # The agent pauses between its sentences for up to half a second.
        assert abs((last - first) * 1000 / RATE - truncated["audio_end_ms"]) < 700
        quiet_from = truncated["receivedMs"] + 500
        quiet = await page.heard(quiet_from, stopped["receivedMs"])
        assert len(quiet) > 2 * RATE
        assert sound.level(quiet) < 30
    assert (await process.metrics())("transceiver_interruptions_total") == 1


async def test_the_button_hangs_up_at_the_server(edge: Edge, tmp_path: Path) -> None:
    process = await edge.dev("echo")
    async with demo_page(tmp_path, REST) as page:
        await page.open(process.url)
        assert await page.state() == "idle"
        await page.start()
        assert (await process.metrics())("transceiver_sessions") == 1

        await page.page.click("#toggle")
        assert await page.reaches("ended") == "ended"
        await check_that_calls_ended(process, 1)
        await check_that_flows_are_released(process)


async def test_a_hang_up_over_http_ends_the_call_on_the_page(edge: Edge, tmp_path: Path) -> None:
    process = await edge.dev("echo")
    async with demo_page(tmp_path, REST) as page:
        await page.open(process.url)
        async with page.page.expect_response("**/v1/realtime/calls") as answered:
            await page.start()
        location = (await (await answered.value).all_headers())["location"]

        assert (await process.post(f"{location}/hangup")).status_code == 200
        assert await page.reaches("ended", "failed") == "ended"
        await check_that_calls_ended(process, 1)

        again = await process.post(f"{location}/hangup")
        assert again.status_code == 404
        assert again.json()["error"]["code"] == "call_not_found"
        assert again.json()["error"]["param"] == "call_id"


async def test_a_call_takes_no_mouse(edge: Edge, tmp_path: Path) -> None:
    process = await edge.dev("echo")
    async with demo_page(tmp_path, REST) as page:
        await page.open(process.url)
        await reach_by_tabbing(page, "toggle")
        await page.page.keyboard.press("Enter")
        await page.event("session.created")
        await page.page.keyboard.press("Enter")
        await page.reaches("ended")
        await check_that_calls_ended(process, 1)

        await page.page.keyboard.press("Enter")
        await page.event("session.created")
        await page.page.keyboard.press("Escape")
        await page.reaches("ended")
        await check_that_calls_ended(process, 2)


async def test_where_keys_are_needed_the_page_asks_for_one(edge: Edge, tmp_path: Path) -> None:
    process = await edge.dev("echo", signaling__api_keys=[API_KEY])
    async with demo_page(tmp_path, REST) as page:
        await page.open(process.url)
        assert not await page.page.is_visible("#credential")
        await page.page.click("#toggle")
        assert await page.reaches("failed") == "failed"
        assert "(401)" in await page.page.inner_text("#detail")
        await page.page.fill("#credential", "not-the-key")
        await page.page.keyboard.press("Enter")
        assert await page.reaches("failed") == "failed"

        await page.page.fill("#credential", API_KEY)
        await page.page.keyboard.press("Enter")
        await page.event("session.created")
        await page.page.click("#toggle")
        assert await page.reaches("ended") == "ended"
        await check_that_calls_ended(process, 1)


async def check_that_the_relay_is_the_only_way(page: DemoPage, edge: Edge) -> None:
    lines = (await page.answer()).splitlines()
    candidates = [line.split() for line in lines if line.startswith("a=candidate")]
    assert {(parts[4], parts[5]) for parts in candidates} == {(HOST, str(edge.relay_port))}
    stats = {entry["id"]: entry for entry in await page.stats()}
    transport = next(entry for entry in stats.values() if entry["type"] == "transport")
    remote = stats[stats[transport["selectedCandidatePairId"]]["remoteCandidateId"]]
    assert (remote["address"], remote["port"]) == (HOST, edge.relay_port)


async def check_that_calls_ended(process: Process, count: int) -> None:
    async def ended() -> bool:
        metrics = await process.metrics()
        over = metrics("transceiver_calls_ended_total") == count
        return over and metrics("transceiver_sessions") == 0

    await until(ended, f"{count} calls ended and no session is left")


async def check_that_flows_are_released(process: Process) -> None:
    async def released() -> bool:
        metrics = await process.metrics()
        return metrics("relay_flows_released_total") > 0 and metrics("relay_flows") == 0

    await until(released, "the relay has forgotten the call's flows")


async def reach_by_tabbing(page: DemoPage, element_id: str) -> None:
    for _ in range(20):
        await page.page.keyboard.press("Tab")
        if await page.page.evaluate("() => document.activeElement.id") == element_id:
            return
    raise AssertionError(f"#{element_id} cannot be reached by tabbing")
