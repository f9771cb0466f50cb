"""Two relays and a real Redis: what one learned the other knows, and no failure gets in the way."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator

import pytest
import structlog

from firsthop import flowcache
from firsthop._native import Notice
from firsthop.config import FlowCacheSettings, RelaySettings, Settings
from firsthop.relay.notices import Notices
from firsthop.telemetry.metrics import Metrics
from redis_server import RedisServer
from relay.counts import breaker_open, counted, settled
from relay.fake_relay import FakeDataPlane

KEY = "ab" * 32
OWNER = bytes(range(18))


def flow() -> bytes:
    return secrets.token_bytes(20)


class Relay:
    """One relay's control plane, over a data plane of the test's."""

    def __init__(self, url: str, budget: float) -> None:
        self.data_plane = FakeDataPlane()
        self.metrics = Metrics()
        settings = Settings(
            keys={0: KEY}, relay=RelaySettings(flow_cache=FlowCacheSettings(url=url))
        )
        cache = flowcache.load(settings, self.metrics.flow_cache_garbage.inc)
        assert cache is not None
        self.notices = Notices(self.data_plane, cache, budget, self.metrics)
        self.notices.start()

    async def learn(self, *notices: Notice) -> None:
        """Report what became of flows, and wait until that is written."""
        before = counted(self.metrics, "writes")
        self.data_plane.report(*notices)
        after = await self.results("writes", sum(before.values()) + len(notices))
        assert after["written"] == before.get("written", 0) + len(notices)

    async def results(self, name: str, count: int) -> dict[str, int]:
        """Wait until so many look-ups or writes have ended, and return how."""
        return await settled(self.metrics, name, count)

    async def owner(self, flow: bytes) -> bytes | None:
        """Have a packet of an unknown flow wait, and return what is answered, if anything is."""
        before = sum(counted(self.metrics, "lookups").values())
        self.data_plane.report(Notice.LookUp(1, flow))
        await self.results("lookups", before + 1)
        answers, self.data_plane.answers = self.data_plane.answers, []
        # An answer to a question before may have been late.
        ours = [(worker, owner) for worker, asked, owner in answers if asked == flow]
        assert [worker for worker, _ in ours] in ([], [1])
        return ours[0][1] if ours else None

    async def close(self) -> None:
        """Stop it."""
        await self.notices.stop()
        self.data_plane.close()


class Pair:
    """A relay that learns, and another that asks.

    The budgets are larger than in earnest where a test is not about them, for machines that test
    are busy ones.
    """

    def __init__(self, server: RedisServer) -> None:
        self.learning = Relay(server.url, budget=5.0)
        self.asking = Relay(server.url, budget=5.0)
        self.hasty = Relay(server.url, budget=0.005)

    async def close(self) -> None:
        """Stop all, and see that nothing is left."""
        for relay in (self.learning, self.asking, self.hasty):
            await relay.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
async def pair(redis_server: RedisServer) -> AsyncIterator[Pair]:
    pair = Pair(redis_server)
    yield pair
    await pair.close()


async def test_what_one_relay_learned_another_knows(pair: Pair) -> None:
    learned = flow()
    await pair.learning.learn(Notice.Kept(learned, OWNER))
    assert await pair.asking.owner(learned) == OWNER
    assert await pair.asking.owner(flow()) is None
    assert counted(pair.asking.metrics, "lookups") == {"hit": 1, "miss": 1}


async def test_what_its_owner_ended_is_forgotten(pair: Pair) -> None:
    learned = flow()
    await pair.learning.learn(Notice.Kept(learned, OWNER))
    await pair.learning.learn(Notice.Gone(learned))
    assert await pair.asking.owner(learned) is None


async def test_questions_and_news_of_one_wake_up_are_told_apart(pair: Pair) -> None:
    learned, ended, asked = flow(), flow(), flow()
    await pair.learning.learn(Notice.Kept(ended, OWNER), Notice.Kept(asked, OWNER))
    pair.learning.data_plane.report(
        Notice.Kept(learned, OWNER), Notice.LookUp(0, asked), Notice.Gone(ended)
    )
    assert await pair.learning.data_plane.answered() == [(0, asked, OWNER)]
    assert await pair.learning.results("writes", 4) == {"written": 4}
    assert await pair.asking.owner(learned) == OWNER
    assert await pair.asking.owner(ended) is None


async def test_a_redis_that_stands_still_costs_the_budget_and_then_nothing(
    pair: Pair, redis_server: RedisServer
) -> None:
    learned = flow()
    await pair.learning.learn(Notice.Kept(learned, OWNER))
    redis_server.pause()
    while not breaker_open(pair.hasty.metrics):
        assert await pair.hasty.owner(learned) is None
    results = counted(pair.hasty.metrics, "lookups")
    assert results["timeout"] >= 1
    assert "hit" not in results
    redis_server.resume()
    await until_it_is_asked_again(pair.hasty)


async def test_a_redis_that_was_killed_is_left_alone_and_used_again_when_it_is_back(
    pair: Pair, redis_server: RedisServer
) -> None:
    learned = flow()
    await pair.learning.learn(Notice.Kept(learned, OWNER))
    redis_server.kill()
    while not breaker_open(pair.asking.metrics):
        assert await pair.asking.owner(learned) is None
    before = counted(pair.asking.metrics, "writes")
    pair.asking.data_plane.report(Notice.Kept(learned, OWNER))
    after = await pair.asking.results("writes", sum(before.values()) + 1)
    assert "written" not in after
    redis_server.start()
    await until_it_is_asked_again(pair.asking)
    await pair.asking.learn(Notice.Kept(learned, OWNER))
    assert await pair.asking.owner(learned) == OWNER


async def test_a_flood_of_questions_while_redis_stands_still_leaves_nothing_behind(
    pair: Pair, redis_server: RedisServer
) -> None:
    redis_server.pause()
    asked = 5000
    pair.hasty.data_plane.report(*(Notice.LookUp(0, flow()) for _ in range(asked)))
    results = await pair.hasty.results("lookups", asked)
    assert results.keys() <= {"timeout", "refused"}
    assert {owner for _, _, owner in pair.hasty.data_plane.answers} <= {None}


async def test_logs_tell_when_the_cache_is_given_up_and_when_it_is_back_and_name_nobody(
    pair: Pair, redis_server: RedisServer
) -> None:
    with structlog.testing.capture_logs() as logs:
        redis_server.kill()
        while not breaker_open(pair.asking.metrics):
            await pair.asking.owner(flow())
        redis_server.start()
        await until_it_is_asked_again(pair.asking)
    assert [entry["event"] for entry in logs] == ["flow_cache.given_up", "flow_cache.back"]
    assert logs[0]["reason"] == "ConnectionError"
    text = json.dumps(logs)
    assert redis_server.password not in text
    assert "127.0.0.1" not in text


async def until_it_is_asked_again(relay: Relay) -> None:
    """Ask until the breaker is closed: a probe found the cache well."""
    while breaker_open(relay.metrics):
        assert await relay.owner(flow()) is None
        await asyncio.sleep(0.01)
