"""What a flow takes in Redis, held against a real one."""

from __future__ import annotations

import pytest
import redis

from firsthop.flowcache.redis import RedisFlowCache
from firsthop.flowcache.sealed import Seal
from firsthop.plan.measurements import shipped
from redis_server import RedisServer

FLOWS = 10_000
BATCH = 1000


def used(client: redis.Redis) -> int:
    """Return the bytes that the server has in use."""
    memory = client.info("memory")
    assert isinstance(memory, dict)
    return int(memory["used_memory"])


async def test_a_flow_takes_as_much_of_a_real_redis_as_plans_say(redis_server: RedisServer) -> None:
    seal = Seal({0: bytes(32)}, 0, ttl_seconds=90)
    cache = RedisFlowCache(
        redis_server.url, seal, now=lambda: 1.8e9, count_garbage=lambda count: None
    )
    with redis.Redis.from_url(redis_server.url) as client:
        await cache.connect()
        before = used(client)
        for first in range(0, FLOWS, BATCH):
            flows = (number.to_bytes(20, "big") for number in range(first, first + BATCH))
            await cache.keep([(flow, bytes(18)) for flow in flows])
        each = (used(client) - before) / FLOWS
    await cache.close()
    # Its table doubles at powers of two, so it depends on how many there are.
    assert each == pytest.approx(shipped().value("redis_flow"), rel=0.15)
