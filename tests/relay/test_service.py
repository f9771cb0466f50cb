"""A real relay on loopback, started and stopped as a service."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from firsthop import flowcache
from firsthop.config import RelaySettings, Settings
from firsthop.errors import ConfigError
from firsthop.relay.service import RelayService
from firsthop.telemetry.metrics import Metrics
from redis_server import RedisServer

KEY = "ab" * 32
LISTEN = ("127.0.0.1:0", "127.0.0.1:0")


def settings(**relay: Any) -> Settings:
    defaults = {"listen": LISTEN, "upstream": "127.0.0.1:0", "workers": 2, "flow_capacity": 100}
    return Settings(keys={0: KEY}, relay=RelaySettings(**{**defaults, **relay}))


@pytest.fixture
async def relay() -> AsyncIterator[RelayService]:
    relay = RelayService(settings(), Metrics())
    relay.start()
    yield relay
    await relay.stop()


async def get(relay: RelayService, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(relay.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://relay.example") as client:
        return await client.get(path)


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


async def test_a_relay_tells_the_addresses_that_it_got(relay: RelayService) -> None:
    assert len(relay.listening) == len(LISTEN)
    assert len(relay.upstream) == 2, "one per worker"
    bound = relay.listening + relay.upstream
    assert all(address(text)[0] == "127.0.0.1" for text in bound)
    assert all(address(text)[1] > 0 for text in bound)
    assert len(set(bound)) == len(bound)


async def test_a_relay_that_runs_is_ready_and_counts(relay: RelayService) -> None:
    assert relay.problem() is None
    ready = await get(relay, "/readyz")
    assert (ready.status_code, ready.json()) == (200, {"ready": True})
    assert (await get(relay, "/healthz")).text == "ok\n"
    metrics = (await get(relay, "/metrics")).text
    assert "firsthop_relay_flows 0.0" in metrics
    assert 'firsthop_relay_dropped_packets_total{reason="hop_mac"} 0.0' in metrics


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets threads choose their core")
@pytest.mark.parametrize("pin", [False, True])
async def test_pinned_workers_keep_to_one_core_each_and_serve(pin: bool) -> None:
    may_use = os.sched_getaffinity(0)
    relay = RelayService(settings(pin=pin, busy_poll_us=2000), Metrics())
    relay.start()
    try:
        with udp() as client:
            client.sendto(b"\xffno protocol of ours", address(relay.listening[0]))
        while relay._running().counters()["dropped_unknown_protocol"] == 0:
            pass
        # A thread takes its name and its core first of all, but not before it runs.
        cores = cores_of_workers()
        while len(cores) < 2 or (pin and any(len(own) > 1 for own in cores)):
            cores = cores_of_workers()
    finally:
        await relay.stop()
    assert pin or cores == [may_use, may_use]
    assert len(set.union(*cores)) >= min(2, len(may_use))


def cores_of_workers() -> list[set[int]]:
    return [
        os.sched_getaffinity(int(task.name))
        for task in Path("/proc/self/task").iterdir()
        if (task / "comm").read_text().startswith("firsthop-relay-")
    ]


async def test_a_packet_that_is_no_ones_is_counted_as_dropped(relay: RelayService) -> None:
    def dropped() -> int:
        assert relay._relay is not None
        counters = relay._relay.counters()
        return sum(value for key, value in counters.items() if key.startswith("dropped_"))

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"\x80 this is RTP of an unknown flow", address(relay.listening[0]))
    while dropped() == 0:
        pass
    assert dropped() == 1


async def test_a_relay_that_was_stopped_is_not_ready_and_frees_its_addresses() -> None:
    relay = RelayService(settings(), Metrics())
    assert relay.problem() == "not started"
    assert relay.listening == relay.upstream == []
    relay.start()
    taken = [address(text) for text in relay.listening + relay.upstream]
    await relay.stop()
    await relay.stop()
    assert relay.problem() == "not started"
    assert (await get(relay, "/readyz")).status_code == 503
    for host, port in taken:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind((host, port))


async def test_a_relay_that_may_forward_nowhere_is_not_ready() -> None:
    relay = RelayService(settings(clusters=()), Metrics())
    relay.start()
    ready = await get(relay, "/readyz")
    assert ready.status_code == 503
    assert "relay.clusters is empty" in ready.json()["reason"]
    await relay.stop()


async def test_a_flow_cache_that_is_down_leaves_a_relay_ready() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{nobody.getsockname()[1]}"
        relay = RelayService(settings(flow_cache={"url": url}), Metrics())
        relay.start()
        assert (await get(relay, "/readyz")).status_code == 200
        await relay.stop()


async def test_a_packet_of_a_flow_that_another_relay_learned_reaches_its_owner(
    redis_server: RedisServer,
) -> None:
    asked = settings(
        listen=LISTEN[:1],
        clusters=({"first_port": 1, "last_port": 65535},),
        flow_cache={"url": redis_server.url, "budget_ms": 50},
    )
    cache = flowcache.load(asked, lambda amount: None)
    assert cache is not None
    relay = RelayService(asked, Metrics())
    relay.start()
    with udp() as owner, udp() as client:
        mapped = bytes(10) + b"\xff\xff" + bytes([127, 0, 0, 1])
        flow = mapped + client.getsockname()[1].to_bytes(2) + bytes(2)
        await cache.keep([(flow, mapped + owner.getsockname()[1].to_bytes(2))])
        packet = b"\x80" + b" this is RTP of a flow that the relay never saw"
        received = b""
        while not received:
            # As clients do; on a busy machine the first look-up may miss its budget.
            client.sendto(packet, address(relay.listening[0]))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    received = await asyncio.get_running_loop().sock_recv(owner, 2048)
        assert packet in received
    await cache.close()
    await relay.stop()


@contextlib.contextmanager
def udp() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.setblocking(False)
        bound.bind(("127.0.0.1", 0))
        yield bound


@pytest.mark.parametrize("setting", ["listen", "upstream"])
def test_an_address_that_is_taken_is_named(setting: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        value = (taken,) if setting == "listen" else taken
        relay = RelayService(settings(**{setting: value}), Metrics())
        with pytest.raises(OSError, match="in use") as error:
            relay.start()
        assert taken in str(error.value)
    assert relay.problem() == "not started"


def test_an_address_that_this_machine_does_not_have_is_named() -> None:
    relay = RelayService(settings(listen=("192.0.2.1:0",)), Metrics())
    with pytest.raises(OSError, match="192\\.0\\.2\\.1"):
        relay.start()


def test_a_relay_without_keys_does_not_start() -> None:
    relay = RelayService(Settings(), Metrics())
    with pytest.raises(ConfigError, match="firsthop key"):
        relay.start()
