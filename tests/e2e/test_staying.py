"""Calls stay up while the client's network changes: aiortc as the caller, who restarts nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from e2e import network, sound
from e2e.network import HOST, LOOPBACK
from e2e.peer import Peer
from e2e.processes import Edge, Process
from e2e.waiting import until
from firsthop.bench.impairment import Conditions, Path

CLEAN = Conditions()
WAYS = ["relay", "direct"]


@contextmanager
def network_of_the_client(edge: Edge, way: str) -> Iterator[Path]:
    """A network between a client and the relay, or the transceiver's own port."""
    server = {
        "relay": f"{HOST}:{edge.relay_port}",
        "direct": f"{LOOPBACK}:{edge.first_shard_port}",
    }
    listen = f"{HOST}:{network.ports()}"
    with Path(server[way], listen=listen, up=CLEAN, down=CLEAN) as path:
        yield path


async def edge_behind(edge: Edge, path: Path, way: str, backend: str = "agents:mirror") -> Process:
    """Start what answers with the path's address."""
    advertise = [path.address]
    if way == "relay":
        return await edge.dev(backend, transceiver__advertise=advertise)
    return await edge.transceiver(
        backend, transceiver__direct=True, transceiver__advertise=advertise
    )


@pytest.mark.parametrize("way", WAYS)
async def test_a_caller_is_heard_and_hears_from_every_port_that_its_nat_gives_it(
    edge: Edge, peer: Peer, way: str
) -> None:
    with network_of_the_client(edge, way) as path:
        process = await edge_behind(edge, path, way)
        await peer.call(process.url)
        await echoes(peer, 500)
        for hertz in (700, 900):
            path.change_port()
            await echoes(peer, hertz)
            await peer.round_trip(f"at {hertz} Hz")
        assert peer.state == "connected"
        metrics = await process.metrics()
        assert metrics("transceiver_sessions") == 1
        assert metrics("transceiver_setup_seconds_count") == 1


async def echoes(peer: Peer, hertz: float) -> None:
    """Say a tone until it is what is heard."""
    peer.microphone.say_nothing()
    peer.microphone.say(sound.tone(hertz, 40))

    def heard() -> bool:
        latest = peer.heard[-sound.RATE // 2 :]
        loud = len(latest) == sound.RATE // 2 and sound.level(latest) > 1000
        return loud and abs(sound.loudest_hertz(latest) - hertz) < 20

    await until(heard, f"its own {hertz} Hz come back")
