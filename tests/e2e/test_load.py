"""`firsthop load` against real relays and transceivers."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from e2e import sound
from e2e.network import HOST
from e2e.processes import COMMAND, Edge, Process, environment
from e2e.waiting import DEADLINE_S, until
from firsthop.load import Load, LoadError, Placed, door
from firsthop.load.doors import Realtime

#: As many calls as a moment of a shared machine stands.
CALLERS = 8
STAGES = {"answer", "ice", "connected", "channel", "audio", "in all"}
KEY = "0123456789abcdef0123456789abcdef"


async def has(process: Process, sessions: int) -> None:
    """Wait until the transceiver has so many calls."""

    async def reached() -> bool:
        return (await process.metrics())("transceiver_sessions") == sessions

    await until(reached, f"there are {sessions} calls")


async def test_calls_at_an_echo_stand_and_those_without_room_are_told_by_cause(edge: Edge) -> None:
    process = await edge.dev("echo", transceiver__max_sessions=CALLERS)
    realtime = door(f"{process.url}/v1/realtime/calls")
    async with Load(realtime, callers=CALLERS, rate=40, local=HOST) as load:
        await load.ramp_up()
        load.measure()
        await until(lambda: all_heard(load), "all hear something, and marks come back")
        found = load.measured()
    assert (found.stood, found.failures) == (CALLERS, {})
    assert {stage: len(values) for stage, values in found.stages_ms.items()} == dict.fromkeys(
        STAGES, CALLERS
    )
    assert found.totals["received"] > 0
    assert found.totals["lost"] == found.totals["reordered"] == found.totals["duplicated"] == 0
    assert found.echoes
    await has(process, 0)

    whip = door(f"{process.url}/whip")
    found = await Load(whip, callers=CALLERS + 3, rate=40, local=HOST, talks=False).run(seconds=0.5)
    assert (found.stood, found.failures) == (CALLERS, {"http 503": 3})
    assert "503" in found.examples["http 503"]
    assert found.totals["sent"] == 0
    await has(process, 0)


async def test_calls_that_end_before_their_time_are_told(edge: Edge) -> None:
    process = await edge.dev("echo")
    whip = door(f"{process.url}/whip")
    async with Load(whip, callers=3, rate=40, local=HOST) as load:
        await load.ramp_up()
        process.send(signal.SIGTERM)
        # It says goodbye to all, and then there is nobody to hold on for.
        await load.hold(DEADLINE_S)
        found = load.measured()
    assert await process.exit_code() == 0
    assert (found.stood, found.failures) == (0, {"closed_by_server": 3})
    assert found.dropped == found.failures


async def test_calls_that_are_asked_to_go_on_elsewhere_lose_nothing(edge: Edge) -> None:
    await edge.relay()
    before, after = [
        await edge.transceiver(
            "mirror", transceiver__drain_seconds=4, transceiver__handover_seconds=4
        )
        for _ in range(2)
    ]

    class Steered(Realtime):
        """Stands in for a gateway, which passes over a transceiver that drains."""

        async def place(
            self, client: httpx.AsyncClient, offer: str, key: str | None = None
        ) -> Placed:
            there = before if key is None else after
            return await door(f"{there.url}/v1/realtime/calls").place(client, offer, key)

    async with Load(Steered(before.url), callers=3, rate=40, local=HOST) as load:
        await load.ramp_up()
        await until(lambda: load.measured().unreturned is not None, "packets come back")
        load.measure()
        before.send(signal.SIGTERM)
        await until(lambda: len(load.measured().move_gaps_ms) == 3, "all have moved")
        assert await before.exit_code() == 0
        await has(after, 3)
        await until(lambda: load.measured().unreturned is not None, "packets come back")
        found = load.measured()
    assert (found.stood, found.failures, found.moves_failed) == (3, {}, {})
    assert (found.totals["lost"], found.unreturned) == (0, 0)


async def test_the_command_brings_its_key_and_its_sound_and_reports_when_interrupted(
    edge: Edge, tmp_path: Path
) -> None:
    process = await edge.dev("agents:silent", signaling__api_keys=[KEY])
    url = f"{process.url}/v1/realtime/calls"
    with pytest.raises(LoadError, match=r"answered 401 .*--key"):
        await Load(door(url), callers=CALLERS, local=HOST).run(seconds=600)

    said, page = tmp_path / "said.wav", tmp_path / "report.html"
    sound.write_wav(said, sound.speech(sound.SENTENCE))
    options = ("--callers", "4", "--seconds", "600", "--local", HOST, "--key", KEY)
    async with loading(url, *options, "--sound", str(said), "--html", str(page)) as command:
        await has(process, 4)
        assert command.stderr is not None
        async with asyncio.timeout(DEADLINE_S):
            # To be connected is not yet to be measured, and that begins with nothing sent.
            while not re.search(rb" 4 connected.* 5\d\d s to go", await command.stderr.readline()):
                pass
            command.send_signal(signal.SIGINT)
            printed, _ = await command.communicate()
    assert command.returncode == 0
    found = json.loads(printed)
    assert found["ended_early"]
    assert (found["calls"]["stood"], found["failures"]) == (4, {})
    # No echo: that is no error.
    assert found["media"]["sent"] > 0
    assert found["media"]["mouth_to_ear_ms"] is None
    assert "no echo: no mouth-to-ear delay" in page.read_text()
    await has(process, 0)


def all_heard(load: Load) -> bool:
    found = load.measured()
    return found.echoes and len(found.stages_ms.get("audio", ())) == CALLERS


@asynccontextmanager
async def loading(url: str, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the command; it ends with the block."""
    command = await asyncio.create_subprocess_exec(
        *(COMMAND, "load", url, "--json", *options),
        env=environment({}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield command
    finally:
        if command.returncode is None:
            command.kill()
            await command.wait()
