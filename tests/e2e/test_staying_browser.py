"""Chromium's calls stay up while its network and its microphone change, whatever it sends."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from e2e.caller_page import CallerPage, caller_page
from e2e.network import LOOPBACK
from e2e.processes import Edge
from e2e.test_staying import WAYS, edge_behind, network_of_the_client
from e2e.waiting import until
from firsthop.config import Settings
from firsthop.token import inspect

#: A browser wants a core to itself, or what is heard of it stumbles.
pytestmark = pytest.mark.browser


@pytest.mark.parametrize("way", WAYS)
async def test_a_page_is_heard_and_hears_from_every_port_that_its_nat_gives_it(
    edge: Edge, tmp_path: Path, way: str
) -> None:
    with network_of_the_client(edge, way) as path:
        process = await edge_behind(edge, path, way)
        async with caller_page(tmp_path, process) as page:
            await page.call("realtime", 500)
            await page.echoes(500)
            for hertz in (700, 900):
                path.change_port()
                await page.do("replaceMicrophone", hertz)
                await page.echoes(hertz)
            assert await page.get("pc.connectionState") == "connected"
        metrics = await process.metrics()
        assert metrics("transceiver_setup_seconds_count") == 1
        assert metrics.by("reason", "transceiver_calls_ended_total") in ({}, {"client_closed": 1})


async def test_a_page_mutes_itself_and_changes_its_microphone(edge: Edge, tmp_path: Path) -> None:
    process = await edge.dev("agents:mirror")
    async with caller_page(tmp_path, process) as page:
        await page.call("realtime", 500)
        await page.echoes(500)
        await page.do("mute", True)
        await page.hears_silence()
        await page.do("mute", False)
        await page.echoes(500)
        for hertz in (700, 900):
            await page.do("replaceMicrophone", hertz)
            await page.echoes(hertz)
        # No microphone at all, and another one.
        await page.get("transceiver.sender.replaceTrack(null)")
        await page.hears_silence()
        await page.do("replaceMicrophone", 600)
        await page.echoes(600)


async def test_a_page_may_send_stereo_and_packets_of_any_duration(
    edge: Edge, tmp_path: Path
) -> None:
    process = await edge.dev("agents:mirror")
    async with caller_page(tmp_path, process) as page:
        stereo = "stereo=1;sprop-stereo=1"
        await page.call("realtime", 500, 900, fmtp=stereo, answer={"fmtp": stereo})
        await page.echoes(500, 900)
        for ms, hertz in ((10, 600), (40, 700), (60, 800)):
            answer = {"fmtp": f"minptime={ms};ptime={ms}", "media": f"a=ptime:{ms}"}
            await page.call("realtime", hertz, answer=answer)
            await page.echoes(hertz)
            assert abs(await duration_ms(page) - ms) < 0.2 * ms


async def duration_ms(page: CallerPage) -> float:
    """How much sound the page puts into a packet."""

    async def sent() -> tuple[float, float]:
        [stream], [source] = await page.stats("outbound-rtp"), await page.stats("media-source")
        return stream["packetsSent"], source["totalSamplesDuration"]

    async def more() -> tuple[float, float] | None:
        packets, seconds = await sent()
        return (packets, seconds) if packets >= first + 20 else None

    first, then = await sent()
    packets, now = await until(more, "20 packets more")
    return (now - then) * 1000 / (packets - first)


@pytest.mark.parametrize("codec", ["PCMU", "PCMA"])
async def test_a_page_that_has_no_opus_talks_by_g711(
    edge: Edge, tmp_path: Path, codec: str
) -> None:
    process = await edge.dev("agents:mirror")
    async with caller_page(tmp_path, process) as page:
        await page.call("realtime", 500, codecs=[codec])
        await page.echoes(500)
        [codec_in_use] = {entry["mimeType"] for entry in await page.stats("codec")}
        assert codec_in_use == f"audio/{codec}"


async def test_keys_that_a_page_presses_reach_the_client_and_the_agent(
    edge: Edge, tmp_path: Path
) -> None:
    process = await edge.dev("agents:mirror")
    async with caller_page(tmp_path, process) as page:
        await page.call("realtime", 500)
        await page.echoes(500)
        await page.get("transceiver.sender.dtmf.insertDTMF('12#A', 100, 70)")
        for number, key in enumerate("12#A", 1):
            told = await page.event("input_audio_buffer.dtmf_event_received", number)
            assert told["event"] == key
            assert isinstance(told["received_at"], int)
            assert (await page.event("mirror.digit", number))["digit"] == key
        await page.echoes(500)
        kinds = [event["type"] for event in await page.get("events")]
        assert kinds.count("mirror.digit") == 4, "each key once, however often it is sent"


@pytest.mark.parametrize("door", ["whip", "pipecat"])
async def test_a_page_restarts_ice_and_its_call_goes_on(
    edge: Edge, tmp_path: Path, door: str
) -> None:
    process = await edge.dev("agents:mirror")
    restart = {"whip": "restartByWhip", "pipecat": "restartIce"}[door]
    async with caller_page(tmp_path, process) as page:
        await page.call(door, 500)
        await page.echoes(500)
        call_id, ufrags = await page.get("callId"), [await page.ufrag()]
        for hertz in (700, 900):
            await page.do(restart)
            ufrags.append(await page.ufrag())
            await check_that_checks_name(page, ufrags[-1])
            await page.do("replaceMicrophone", hertz)
            await page.echoes(hertz)
        # Each can be routed, and to the same transceiver.
        settings = Settings(keys={0: edge.key})
        owners = {inspect(ufrag, settings, datetime.now(UTC)).owner for ufrag in ufrags}
        assert (len(set(ufrags)), owners) == (3, {f"{LOOPBACK}:{edge.first_shard_port}"})
        assert await page.get("callId") == call_id
    metrics = await process.metrics()
    assert metrics("transceiver_setup_seconds_count") == 1


async def test_a_page_offers_again_and_again_and_twice_at_once(edge: Edge, tmp_path: Path) -> None:
    process = await edge.dev("agents:mirror")
    async with caller_page(tmp_path, process) as page:
        await page.call("pipecat", 500)
        await page.echoes(500)
        call_id, ufrag = await page.get("callId"), await page.ufrag()
        for _ in range(3):
            await page.do("offer")
            assert await page.ufrag() == ufrag, "nothing of ICE has changed"
        await page.do("offerTwice")
        await check_that_checks_name(page, await page.ufrag())
        await page.do("replaceMicrophone", 700)
        await page.echoes(700)
        # As pages do that let go of one microphone and take another.
        await page.do("changeSender", 900)
        await page.echoes(900)
        assert await page.get("callId") == call_id
        assert set(await page.get("statuses")) == {200}
    metrics = await process.metrics()
    assert metrics("transceiver_setup_seconds_count") == 1


async def check_that_checks_name(page: CallerPage, ufrag: str) -> None:
    """Wait until the page's path is one of the ICE session in which the server has this name."""
    local = await page.get("pc.currentLocalDescription.sdp")
    own = next(line for line in local.splitlines() if line.startswith("a=ice-ufrag:"))

    async def changed() -> bool:
        [transport] = await page.stats("transport")
        stats = {entry["id"]: entry for entry in await page.do("stats")}
        pair = stats[transport["selectedCandidatePairId"]]
        remote = stats[pair["remoteCandidateId"]]
        named = remote.get("usernameFragment", ufrag) == ufrag
        fresh = transport["iceLocalUsernameFragment"] == own.partition(":")[2]
        return bool(named and fresh and transport["iceState"] in ("connected", "completed"))

    await until(changed, "the page uses the new ICE session")
