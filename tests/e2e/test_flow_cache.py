"""Calls whose relay keeps its flows in a Redis: what it never costs.

What it saves is in `test_recovery`.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from e2e.peer import Peer
from e2e.processes import Edge, Process
from e2e.waiting import until
from redis_server import RedisServer

FOUND = "relay_flows_found_total"
WRITES = "relay_flow_cache_writes_total"


@pytest.mark.parametrize("fail", [RedisServer.kill, RedisServer.pause], ids=["killed", "stopped"])
async def test_a_call_does_not_notice_that_redis_is_gone(
    edge: Edge, peer: Peer, redis_server: RedisServer, fail: Callable[[RedisServer], None]
) -> None:
    relay = await edge.relay(relay__flow_cache__url=redis_server.url)
    transceiver = await edge.transceiver("agents:mirror")
    await peer.call(transceiver.url)
    await until_written(relay)
    fail(redis_server)
    for number in range(5):
        await peer.round_trip(f"without Redis {number}")
    assert (await relay.get("/readyz")).status_code == 200
    async with Peer() as another:
        await another.call(transceiver.url)
        await another.round_trip("a new call")
    # And a relay that starts without Redis learns flows as ever.
    relay.kill()
    await relay.start()
    await peer.round_trip("a new relay")
    metrics = await relay.metrics()
    assert metrics(FOUND) == 0
    # The other call may have had a last word.
    assert metrics("relay_flows_created_total") in (1, 2)
    assert redis_server.password not in relay.log.read_text()


async def until_written(relay: Process) -> None:
    """Wait until Redis has a flow."""

    async def written() -> bool:
        return (await relay.metrics()).by("result", WRITES).get("written", 0) >= 1

    await until(written, "a flow is written")
