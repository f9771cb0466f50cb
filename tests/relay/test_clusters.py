"""Clusters behind relays: from settings to packets, and changes while the relay runs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from firsthop._native import edge_key, seal_hop_header, seal_token
from firsthop.config import ClusterSettings, EdgeKeys, RelaySettings, Settings
from firsthop.errors import ConfigError
from firsthop.relay.clusters import native_clusters
from firsthop.relay.service import RelayService
from firsthop.telemetry.metrics import Metrics

MASTER = b"\x07" * 32
NEW_MASTER = b"\x08" * 32
CLUSTER = 7
SITE = 3
HEADER_BYTES = 24
HOP_BYTES = 6


def settings(cluster: ClusterSettings | None, **more: Any) -> Settings:
    relay = {"listen": ("127.0.0.1:0",), "upstream": "127.0.0.1:0", "workers": 1}
    clusters = () if cluster is None else (cluster,)
    edges = more.pop("edges", ())
    site = more.pop("site", 0)
    return Settings(
        relay=RelaySettings(**relay, site=site, flow_capacity=100, edges=edges, clusters=clusters),
        **more,
    )


def cluster(owner: socket.socket, relays: tuple[str, ...] = ()) -> ClusterSettings:
    port = owner.getsockname()[1]
    networks = ("127.0.0.0/8",)
    return ClusterSettings(
        id=CLUSTER, networks=networks, first_port=port, last_port=port, relays=relays
    )


def edge_keys(**masters: bytes) -> dict[int, EdgeKeys]:
    keys = {int(name[1:]): edge_key(master).hex() for name, master in masters.items()}
    return {CLUSTER: EdgeKeys(keys=keys, key_id=max(keys))}


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[RelayService]:
    relay = RelayService(settings, Metrics())
    relay.start()
    try:
        yield relay
    finally:
        await relay.stop()


@pytest.fixture
def owner() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        bound.setblocking(False)
        yield bound


def binding_request(owner: socket.socket, master: bytes, key_id: int) -> bytes:
    host, port = owner.getsockname()
    ufrag = seal_token(
        master=master,
        key_id=key_id,
        cluster=CLUSTER,
        address=host,
        port=port,
        expiry_slot=(int(time.time()) // 900 + 4) % 256,
        nonce=b"nonce!",
    )
    username = f"{ufrag}:abcd".encode()
    attribute = b"\x00\x06" + len(username).to_bytes(2) + username + bytes(-len(username) % 4)
    return b"\x00\x01" + len(attribute).to_bytes(2) + b"\x21\x12\xa4\x42" + bytes(12) + attribute


async def received(owner: socket.socket) -> bytes:
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(owner, 2048), 5)


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


async def test_an_edge_without_masters_reaches_an_owner_by_the_clusters_relay(
    owner: socket.socket,
) -> None:
    near = settings(cluster(owner), keys={0: MASTER.hex()}, edges=("127.0.0.0/8",))
    async with running(near) as behind:
        far = settings(
            cluster(owner, tuple(behind.upstream)), edge_keys=edge_keys(_0=MASTER), site=SITE
        )
        async with running(far) as edge, udp() as client:
            request = binding_request(owner, MASTER, 0)
            client.sendto(request, address(edge.listening[0]))
            datagram = await received(owner)
            header, packet = (
                datagram[: HEADER_BYTES + HOP_BYTES],
                datagram[HEADER_BYTES + HOP_BYTES :],
            )
            assert packet == request
            host, port = address(edge.upstream[0])
            expected = seal_hop_header(
                secret=MASTER,
                key_id=0,
                owner="{}:{}".format(*owner.getsockname()),
                direction="up",
                flags=0,
                hop_limit=2,
                tick=int.from_bytes(header[4:6]),
                client="{}:{}".format(*client.getsockname()),
                ingress=SITE << 8,
                return_hop=f"{host}:{port}",
            )
            assert header[:10] + header[12:] == expected[:10] + expected[12:]
            assert behind._running().counters()["ingress_packets"] == 1
            while behind._running().counters()["edges"] == 0:
                pass
            assert edge._running().next_hops() == [(CLUSTER, behind.upstream[0], True)]
            assert edge.problem() is None
        metrics = edge._metrics.render().decode()
        assert "firsthop_relay_next_hop_alive" in metrics


async def test_an_edge_whose_relays_are_all_silent_is_not_ready(owner: socket.socket) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        relay = "{}:{}".format(*silent.getsockname())
        far = settings(cluster(owner, (relay,)), edge_keys=edge_keys(_0=MASTER))
        async with running(far) as edge:
            assert edge.problem() is None
            while edge.problem() is None:
                pass
            assert edge.problem() == "no relay of any cluster answers"
            assert edge._running().next_hops() == [(CLUSTER, relay, False)]


async def test_keys_and_clusters_change_while_a_relay_runs(owner: socket.socket) -> None:
    first = settings(cluster(owner), keys={0: MASTER.hex()})
    async with running(first) as relay, udp() as client:
        public = address(relay.listening[0])

        async def leads(master: bytes, key_id: int) -> bool:
            request = binding_request(owner, master, key_id)
            dropped = sum_of_drops(relay)
            client.sendto(request, public)
            while sum_of_drops(relay) == dropped:
                with contextlib.suppress(BlockingIOError):
                    return owner.recv(2048).endswith(request)
                await asyncio.sleep(0)
            return False

        assert await leads(MASTER, 0)
        assert not await leads(NEW_MASTER, 1)
        both = {0: MASTER.hex(), 1: NEW_MASTER.hex()}
        relay.apply(settings(cluster(owner), keys=both, key_id=1))
        assert await leads(MASTER, 0)
        assert await leads(NEW_MASTER, 1)
        relay.apply(settings(cluster(owner), keys={1: NEW_MASTER.hex()}, key_id=1))
        assert not await leads(MASTER, 0)
        assert await leads(NEW_MASTER, 1)

        # What cannot work is refused, and nothing changes.
        with pytest.raises(ConfigError, match="keys"):
            relay.apply(settings(cluster(owner)))
        overlapping = cluster(owner).model_copy(update={"id": CLUSTER + 1})
        two = RelaySettings(clusters=(cluster(owner), overlapping))
        with pytest.raises(ValueError, match="the networks of 7 and 8 overlap"):
            relay.apply(Settings(keys={1: NEW_MASTER.hex()}, key_id=1, relay=two))
        assert await leads(NEW_MASTER, 1)

        relay.apply(settings(None))
        assert not await leads(NEW_MASTER, 1)
        assert relay.problem() is not None


def test_a_cluster_behind_relays_needs_edge_keys(owner: socket.socket) -> None:
    behind = cluster(owner, ("127.0.0.1:3479",))
    keyless = settings(None, keys={0: MASTER.hex()})
    relay = keyless.relay.model_copy(update={"clusters": (behind,)})
    with pytest.raises(ConfigError, match="edge_keys: there are none for cluster 7"):
        native_clusters(keyless.model_copy(update={"relay": relay}))


def sum_of_drops(relay: RelayService) -> int:
    counters = relay._running().counters()
    return sum(value for name, value in counters.items() if name.startswith("dropped_"))


@contextlib.asynccontextmanager
async def udp() -> AsyncIterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound
