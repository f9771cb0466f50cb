"""What is killed or stopped in the middle of calls, and what its callers notice."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import numpy as np
import pytest

from e2e import sound
from e2e.chromium import demo_page
from e2e.peer import Peer
from e2e.processes import Edge, Process
from e2e.sound import RATE
from e2e.waiting import until

WORDS = sound.speech(sound.SENTENCE)
OTHER_WORDS = sound.speech(sound.OTHER_SENTENCE)


async def test_a_call_survives_the_relay_twice(edge: Edge, peer: Peer) -> None:
    relay = await edge.relay()
    transceiver = await edge.transceiver("agents:mirror")
    await peer.call(transceiver.url)
    await peer.round_trip("before")

    # The agent echoes, so packets come down all the time: the new relay learns from those.
    for number in range(2):
        relay.kill()
        await relay.start()
        await peer.round_trip(f"after death {number}")
    await check_the_echo(peer)
    await check_that_no_call_was_placed_again(transceiver, peer)
    assert (await relay.metrics())("relay_flows_created_total") == 1


async def test_a_call_survives_the_relay_while_nobody_speaks(edge: Edge, peer: Peer) -> None:
    relay = await edge.relay()
    transceiver = await edge.transceiver("agents:silent")
    await peer.call(transceiver.url)
    await peer.round_trip("before")
    relay.kill()
    await relay.start()
    # Found again at the latest by the client's next check.
    await peer.round_trip("after")
    await check_that_no_call_was_placed_again(transceiver, peer)


@pytest.mark.browser
async def test_a_browsers_call_survives_the_relay(edge: Edge, tmp_path: Path) -> None:
    relay = await edge.relay()
    transceiver = await edge.transceiver("agents:mirror")
    microphone = np.concatenate([np.concatenate((WORDS, sound.silence(1)))] * 12)
    async with demo_page(tmp_path, microphone) as page:
        await page.open(transceiver.url)
        await page.start()
        relay.kill()
        await relay.start()
        restarted_ms = await page.now_ms()

        async def echoed() -> bool:
            first, last = sound.audible(await page.heard(restarted_ms))
            return last - first > 10 * RATE

        await until(echoed, "ten seconds of echo after the restart", 60, every=0.5)
        sound.check_words(await page.heard(restarted_ms), WORDS, OTHER_WORDS)
        assert await page.state() not in {"reconnecting", "ended", "failed"}
        assert (await transceiver.metrics())("transceiver_setup_seconds_count") == 1


@pytest.mark.browser
async def test_a_browser_learns_that_its_transceiver_is_gone(edge: Edge, tmp_path: Path) -> None:
    await edge.relay()
    transceiver = await edge.transceiver("agents:mirror")
    async with demo_page(tmp_path, sound.silence(120)) as page:
        await page.open(transceiver.url)
        await page.start()
        transceiver.kill()
        assert await page.reaches("failed", "ended") == "failed"


async def test_aiortc_learns_that_its_transceiver_is_gone(edge: Edge, peer: Peer) -> None:
    await edge.relay()
    transceiver = await edge.transceiver("agents:mirror")
    await peer.call(transceiver.url)
    transceiver.kill()
    await until(lambda: peer.state != "connected", "aiortc gives up", 60)


async def test_a_new_transceiver_has_the_relay_forget_the_old_ones_flows(
    edge: Edge, peer: Peer
) -> None:
    relay = await edge.relay()
    transceiver = await edge.transceiver("agents:mirror")
    await peer.call(transceiver.url)
    assert (await relay.metrics())("relay_flows") == 1
    transceiver.kill()
    await transceiver.start()

    async def released() -> bool:
        metrics = await relay.metrics()
        return metrics("relay_flows_released_total") == 1 and metrics("relay_flows") == 0

    await until(released, "the flow is released")
    dropped = (await relay.metrics()).by("reason", "relay_dropped_packets_total")
    assert dropped["no_session"] >= 1
    async with Peer() as another:
        await another.call(transceiver.url)
        await another.round_trip("a new call")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("times", [1, 3], ids=["once", "impatiently"])
async def test_a_signal_ends_calls_politely(edge: Edge, number: signal.Signals, times: int) -> None:
    process = await edge.dev("agents:mirror")
    async with Peer() as peer:
        await peer.call(process.url)
        for _ in range(times):
            process.send(number)
        assert await process.exit_code() == 0
        await until(lambda: peer.state == "closed", "aiortc is told that the call is over")
    assert '"event": "call.ended"' in process.log.read_text()


async def test_a_signal_ends_a_relay_and_a_transceiver_without_calls(edge: Edge) -> None:
    processes = [await edge.relay(), await edge.transceiver("echo")]
    for process in processes:
        process.send(signal.SIGTERM)
    assert await asyncio.gather(*(process.exit_code() for process in processes)) == [0, 0]


@pytest.mark.browser
async def test_the_page_tells_that_the_server_hung_up(edge: Edge, tmp_path: Path) -> None:
    process = await edge.dev("echo")
    async with demo_page(tmp_path, sound.silence(60)) as page:
        await page.open(process.url)
        await page.start()
        process.send(signal.SIGTERM)
        assert await process.exit_code() == 0
        assert await page.reaches("failed", "ended") == "ended"


async def check_the_echo(peer: Peer) -> None:
    """Say something and hear it."""
    start = len(peer.heard)
    peer.microphone.say(WORDS)

    def echoed() -> bool:
        first, last = sound.audible(peer.heard[start:])
        rest = len(peer.heard) - start - last
        return last - first > 0.9 * len(WORDS) and rest > RATE // 2

    await until(echoed, "an echo of the words", 60, every=0.1)
    sound.check_words(peer.heard[start:], WORDS, OTHER_WORDS)


async def check_that_no_call_was_placed_again(transceiver: Process, peer: Peer) -> None:
    assert peer.state == "connected"
    metrics = await transceiver.metrics()
    assert metrics("transceiver_setup_seconds_count") == 1
    assert metrics("transceiver_sessions") == 1
    assert metrics("transceiver_calls_ended_total") == 0
