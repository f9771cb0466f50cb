"""News of flows on their way into the cache: in batches, newest first, and never in the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from firsthop.flowcache.breaker import FAILURES, FIRST_PAUSE, Breaker
from firsthop.relay.writes import CAPACITY, Writes
from firsthop.telemetry.metrics import Metrics
from relay.counts import counted, settled
from relay.fake_cache import FakeCache

HERE, THERE = bytes(range(18)), bytes(range(1, 19))


def flow(number: int) -> bytes:
    return number.to_bytes(20)


class Desk:
    """Writes with everything around them."""

    def __init__(self) -> None:
        self.cache = FakeCache()
        self.metrics = Metrics()
        self.breaker = Breaker(lambda failure: None)
        self.writes = Writes(self.cache, self.breaker, self.metrics)

    @property
    def results(self) -> dict[str, int]:
        """How many writes ended how."""
        return counted(self.metrics, "writes")

    async def settled(self, count: int) -> None:
        """Wait until so many writes have ended, well or not."""
        await settled(self.metrics, "writes", count)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    writer = asyncio.create_task(desk.writes.run())
    yield desk
    assert not writer.done(), "it goes on, whatever happens"
    writer.cancel()
    await asyncio.wait({writer})


async def test_flows_are_written_and_deleted(desk: Desk) -> None:
    desk.cache.entries = {flow(2): HERE}
    desk.writes.note(flow(1), HERE)
    desk.writes.note(flow(2), None)
    await desk.settled(2)
    assert desk.cache.entries == {flow(1): HERE}
    assert desk.results == {"written": 2}


async def test_of_several_news_of_a_flow_the_newest_is_written(desk: Desk) -> None:
    for owner in (HERE, None, THERE):
        desk.writes.note(flow(1), owner)
    await desk.settled(1)
    assert desk.cache.entries == {flow(1): THERE}
    assert desk.results == {"written": 1}


async def test_many_flows_take_few_writes(desk: Desk) -> None:
    for number in range(1000):
        desk.writes.note(flow(number), HERE)
    await desk.settled(1000)
    assert len(desk.cache.entries) == 1000
    assert desk.cache.calls <= 20


async def test_what_a_slow_cache_has_no_room_for_is_dropped_and_nobody_waits(desk: Desk) -> None:
    desk.cache.answering.clear()
    for number in range(CAPACITY + 100):
        desk.writes.note(flow(number), HERE)
    assert desk.results == {"dropped": 100}
    desk.writes.note(flow(0), THERE)
    assert desk.results == {"dropped": 100}, "a flow that waits already takes no more room"
    desk.cache.answering.set()
    await desk.settled(CAPACITY + 100)
    assert desk.cache.entries[flow(0)] == THERE


async def test_a_cache_that_fails_costs_a_count_and_is_left_alone_after_a_while(
    desk: Desk,
) -> None:
    desk.cache.failing = True
    for number in range(FAILURES):
        desk.writes.note(flow(number), HERE)
        await desk.settled(number + 1)
    assert desk.results == {"error": FAILURES}
    assert desk.breaker.is_open
    desk.writes.note(flow(1), HERE)
    desk.writes.note(flow(2), HERE)
    await desk.settled(FAILURES + 2)
    assert desk.results == {"error": FAILURES, "dropped": 2}
    assert desk.cache.calls == FAILURES


async def test_a_write_can_be_the_probe_that_finds_the_cache_well_again(desk: Desk) -> None:
    past = asyncio.get_running_loop().time() - FIRST_PAUSE
    for _ in range(FAILURES):
        desk.breaker.failed(past, "a test")
    desk.writes.note(flow(1), HERE)
    await desk.settled(1)
    assert not desk.breaker.is_open
    assert desk.cache.entries == {flow(1): HERE}
