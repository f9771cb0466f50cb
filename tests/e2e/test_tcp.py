"""Clients whose network lets no UDP through: they talk over TCP to the same relay."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Self

import numpy as np
import pytest

from e2e import network, sound
from e2e.chromium import DemoPage, demo_page
from e2e.network import HOST
from e2e.processes import Edge, Process
from e2e.waiting import until

#: A browser wants a core to itself, or what is heard of it stumbles.
pytestmark = pytest.mark.browser

#: Of the fake microphone once it has said its words: longer than any call here.
REST = sound.silence(90)


async def test_a_browser_that_cannot_use_udp_hears_itself(edge: Edge, tmp_path: Path) -> None:
    relay, transceiver = await without_udp(edge)
    said = sound.speech(sound.SENTENCE)
    async with demo_page(tmp_path, np.concatenate((sound.silence(2), said, REST))) as page:
        await page.open(transceiver.url)
        await page.start()
        assert await selected(page) == ("tcp", HOST, edge.relay_port)
        metrics = await relay.metrics()
        assert metrics("relay_tcp_connections") >= 1

        async def heard() -> bool:
            return sound.similarity(await page.heard(), said) > sound.ALIKE

        await until(heard, "the browser hears what it said", 60, every=0.5)
        sound.check_words(await page.heard(), said, sound.speech(sound.OTHER_SENTENCE))

        await page.page.click("#toggle")
        assert await page.reaches("ended") == "ended"

    async def over() -> bool:
        metrics = await relay.metrics()
        return metrics("relay_flows") == 0 and metrics("relay_tcp_connections") == 0

    await until(over, "the relay has forgotten flow and connection")


async def test_a_browser_whose_connection_breaks_connects_again(edge: Edge, tmp_path: Path) -> None:
    async with Wire(edge.relay_port) as wire:
        _, transceiver = await without_udp(edge, wire.port)
        said = sound.speech(sound.SENTENCE)
        microphone = np.concatenate([np.concatenate((said, sound.silence(1)))] * 12)
        async with demo_page(tmp_path, microphone) as page:
            await page.open(transceiver.url)
            await page.start()
            wire.cut()
            cut_ms = await page.now_ms()

            async def echoed() -> bool:
                first, last = sound.audible(await page.heard(cut_ms))
                return last - first > 10 * sound.RATE

            await until(echoed, "ten seconds of echo after the cut", 60, every=0.5)
            assert await page.state() not in {"reconnecting", "ended", "failed"}
            assert (await transceiver.metrics())("transceiver_setup_seconds_count") == 1


async def test_udp_wins_where_both_work(edge: Edge, tmp_path: Path) -> None:
    process = await edge.dev("echo")
    async with demo_page(tmp_path, REST) as page:
        await page.open(process.url)
        await page.start()
        candidates = [line.split() for line in await candidate_lines(page)]
        priorities = {parts[2]: int(parts[3]) for parts in candidates}
        assert priorities.keys() == {"udp", "tcp"}
        assert priorities["tcp"] < priorities["udp"]

        async def settled() -> bool:
            return await selected(page) == ("udp", HOST, edge.relay_port)

        await until(settled, "the browser has settled on UDP")


class Wire:
    """A TCP port that leads to the relay's, by connections that can be cut."""

    def __init__(self, relay_port: int) -> None:
        self.port = network.ports()
        self._relay_port = relay_port
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._join, HOST, self.port)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Break all connections that there are."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relay_reader, relay_writer = await asyncio.open_connection(HOST, self._relay_port)
        self._writers += [writer, relay_writer]
        with contextlib.suppress(OSError):
            await asyncio.gather(_pump(reader, relay_writer), _pump(relay_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(4096):
        writer.write(piece)
        await writer.drain()
    writer.close()


async def without_udp(edge: Edge, tcp_port: int | None = None) -> tuple[Process, Process]:
    """Start relay and transceiver so that UDP leads nowhere, as behind a firewall."""
    relay = await edge.relay(relay__tcp_listen=[f"{HOST}:{edge.relay_port}"])
    # Nobody listens on the UDP port that answers name.
    nowhere = f"{HOST}:{network.ports()}"
    transceiver = await edge.transceiver(
        "echo",
        transceiver__advertise=[nowhere],
        transceiver__advertise_tcp=[f"{HOST}:{tcp_port or edge.relay_port}"],
    )
    return relay, transceiver


async def candidate_lines(page: DemoPage) -> list[str]:
    lines = (await page.answer()).splitlines()
    return [line for line in lines if line.startswith("a=candidate")]


async def selected(page: DemoPage) -> tuple[str, str, int]:
    """Return the relay's side of the pair in use: protocol, address, port."""
    stats = {entry["id"]: entry for entry in await page.stats()}
    transport = next(entry for entry in stats.values() if entry["type"] == "transport")
    remote = stats[stats[transport["selectedCandidatePairId"]]["remoteCandidateId"]]
    return remote["protocol"], remote["address"], remote["port"]
