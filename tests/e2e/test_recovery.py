"""Relays that are upgraded and killed, and a Redis that fails, in the middle of calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from e2e.network import LOOPBACK
from e2e.peer import Peer
from e2e.processes import Edge, Metrics, Process
from e2e.test_faults import check_that_no_call_was_placed_again, check_the_echo
from e2e.waiting import until
from redis_server import RedisServer

#: Half a second of sound.
_PACKETS = 25
_RESTARTS = 5


async def test_a_call_goes_on_without_loss_while_a_new_relay_takes_over(
    edge: Edge, peer: Peer
) -> None:
    relay = await edge.relay(relay__takeover_socket=str(edge.folder / "relay.sock"))
    transceiver = await edge.transceiver("agents:mirror")
    await peer.call(transceiver.url)
    await check_the_echo(peer)
    lost_before = await losses(peer)

    newer = Process(("relay", "--takeover"), relay.settings, relay.http_port, relay.log)
    edge.processes.append(newer)
    await newer.start()
    assert await relay.exit_code() == 0
    assert "relay.taken_over" in relay.log.read_text()

    await check_the_echo(peer)
    assert await losses(peer) == lost_before
    await check_that_no_call_was_placed_again(transceiver, peer)
    metrics = await newer.metrics()
    assert metrics("relay_flows_restored_total") == 1
    assert metrics("relay_flows_created_total") == 0


async def test_a_restarted_relay_finds_the_flows_of_silent_agents_in_redis(
    edge: Edge, peer: Peer, redis_server: RedisServer
) -> None:
    relay = await edge.relay(**shared(redis_server))
    transceiver = await edge.transceiver("agents:silent")
    await peer.call(transceiver.url)
    await until_kept(relay)
    for _ in range(_RESTARTS):
        relay.kill()
        await relay.start()
        if await found(relay):
            break
    else:
        pytest.fail(f"not found by the flow cache in {_RESTARTS} restarts")
    await check_that_media_goes_up(transceiver)
    await peer.round_trip("after")
    await check_that_no_call_was_placed_again(transceiver, peer)


async def test_another_relay_finds_the_flows_of_one_that_died(
    edge: Edge, peer: Peer, redis_server: RedisServer
) -> None:
    relay = await edge.relay(**shared(redis_server))
    transceiver = await edge.transceiver("agents:silent")
    await peer.call(transceiver.url)
    await until_kept(relay)
    relay.kill()
    # It listens where clients send to, and shares nothing else with the one before. Its upstream is
    # among the ports of shards, for those are known to the check of the logs.
    upstream = f"{LOOPBACK}:{edge.first_shard_port + 4}"
    another = await edge.relay(relay__upstream=upstream, **shared(redis_server))

    for _ in range(_RESTARTS):
        if await found(another):
            break
        another.kill()
        await another.start()
    else:
        pytest.fail(f"not found by the flow cache in {_RESTARTS} starts")
    await check_that_media_goes_up(transceiver)
    await peer.round_trip("after")
    await check_that_no_call_was_placed_again(transceiver, peer)


@pytest.mark.parametrize("fail", [RedisServer.kill, RedisServer.pause], ids=["killed", "stopped"])
async def test_a_call_does_not_notice_that_redis_is_gone(
    edge: Edge, peer: Peer, redis_server: RedisServer, fail: Callable[[RedisServer], None]
) -> None:
    relay = await edge.relay(**shared(redis_server))
    transceiver = await edge.transceiver("agents:mirror")
    await peer.call(transceiver.url)
    await until_kept(relay)
    lost_before = await losses(peer)
    fail(redis_server)
    await check_that_the_call_is_unaffected(relay, transceiver, peer, lost_before)
    async with Peer() as another:
        await another.call(transceiver.url)
        await another.round_trip("a new call")


def shared(redis_server: RedisServer) -> dict[str, str]:
    """Settings of relays that share a Redis, and have time for it on a machine that is busy."""
    return {"relay__flow_cache__url": redis_server.url, "relay__flow_cache__budget_ms": "50"}


async def until_kept(relay: Process) -> None:
    """Wait until the relay has written the call's flow to Redis."""

    async def kept() -> bool:
        metrics = await relay.metrics()
        return metrics("relay_flow_cache_writes_total", result="written") >= 1

    await until(kept, "the flow is in Redis")


async def found(relay: Process) -> bool:
    """Wait until the relay knows the call's flow; return whether it found it in Redis.

    A silent agent's transceiver still answers checks. If it did so just now, the flow was learned
    from that, and nobody was asked.
    """

    async def known() -> Metrics | None:
        metrics = await relay.metrics()
        return metrics if metrics("relay_flows") else None

    metrics: Metrics = await until(known, "the flow is known")
    return metrics("relay_flows_found_total") > 0


async def check_that_media_goes_up(transceiver: Process) -> None:
    """Wait until half a second of sound has come."""
    before = (await transceiver.metrics())("transceiver_ingress_packets_total")

    async def came() -> bool:
        now = (await transceiver.metrics())("transceiver_ingress_packets_total")
        return now >= before + _PACKETS

    await until(came, "media goes up")


async def check_that_the_call_is_unaffected(
    relay: Process, transceiver: Process, peer: Peer, lost_before: dict[str, int]
) -> None:
    await check_the_echo(peer)
    assert await losses(peer) == lost_before
    await check_that_no_call_was_placed_again(transceiver, peer)
    assert relay.alive
    # That a cache is down is no reason to be taken out of service.
    assert (await relay.get("/readyz")).status_code == 200


async def losses(peer: Peer) -> dict[str, int]:
    """Return the packets that were lost each way until now, by sequence numbers.

    The peer counts what it misses; what the transceiver misses it tells in RTCP reports, of which
    this waits for a new one (RFC 3550 §6.4).
    """
    way_up, way_down = "remote-inbound-rtp", "inbound-rtp"

    async def statistics() -> dict[str, Any]:
        report = await peer.connection.getStats()
        return {each.type: each for each in report.values()}

    known = (await statistics()).get(way_up)

    async def reported() -> bool:
        newest = (await statistics()).get(way_up)
        return newest is not None and (known is None or newest.timestamp > known.timestamp)

    await until(reported, "a report of the transceiver")
    newest = await statistics()
    return {way: newest[way].packetsLost for way in (way_up, way_down)}
