"""Questions of the data plane: an answer in time, whatever the cache does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from firsthop.flowcache.breaker import FAILURES, Breaker
from firsthop.relay.lookups import LookUps
from firsthop.telemetry.metrics import Metrics
from relay.counts import counted, settled
from relay.fake_cache import FakeCache
from relay.fake_relay import FakeDataPlane

OWNER = bytes(range(18))
#: Long enough that no test ever sees it pass.
AMPLE = 3600.0
TINY = 0.001


def flow(number: int) -> bytes:
    return number.to_bytes(20)


class Desk:
    """Look-ups with everything around them."""

    def __init__(self, budget: float) -> None:
        self.cache = FakeCache()
        self.relay = FakeDataPlane()
        self.metrics = Metrics()
        self.breaker = Breaker(lambda failure: None)
        self.lookups = LookUps(self.cache, self.breaker, self.relay.answer, budget, self.metrics)

    def ask(self, *numbers: int, worker: int = 0) -> None:
        """Have a wake-up bring questions."""
        now = asyncio.get_running_loop().time()
        self.lookups.ask([(worker, flow(number)) for number in numbers], now)

    @property
    def results(self) -> dict[str, int]:
        """How many look-ups ended how."""
        return counted(self.metrics, "lookups")

    async def settled(self, count: int) -> dict[str, int]:
        """Wait until so many look-ups have ended, and return how."""
        return await settled(self.metrics, "lookups", count)

    async def close(self) -> None:
        """End it, and see that nothing is left."""
        await self.lookups.stop()
        self.relay.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk(AMPLE)
    yield desk
    await desk.close()


@pytest.fixture
async def hasty() -> AsyncIterator[Desk]:
    desk = Desk(TINY)
    yield desk
    await desk.close()


async def test_owners_that_are_known_are_told_and_others_are_not_made_up(desk: Desk) -> None:
    desk.cache.entries = {flow(1): OWNER}
    desk.ask(1, 2)
    assert await desk.relay.answered(2) == [(0, flow(1), OWNER), (0, flow(2), None)]
    assert desk.results == {"hit": 1, "miss": 1}


async def test_a_wake_up_without_questions_asks_nobody(desk: Desk) -> None:
    desk.ask()
    assert desk.cache.calls == 0


async def test_questions_of_one_wake_up_go_to_the_cache_together(desk: Desk) -> None:
    desk.ask(1, 2, 3)
    await desk.relay.answered(3)
    assert desk.cache.asked == [{flow(1), flow(2), flow(3)}]


async def test_two_workers_that_ask_the_same_both_hear(desk: Desk) -> None:
    desk.cache.entries = {flow(1): OWNER}
    now = asyncio.get_running_loop().time()
    desk.lookups.ask([(0, flow(1)), (3, flow(1))], now)
    assert await desk.relay.answered(2) == [(0, flow(1), OWNER), (3, flow(1), OWNER)]
    assert desk.cache.asked == [{flow(1)}]


async def test_an_owner_that_is_found_late_is_told_and_one_that_is_not_is_not(hasty: Desk) -> None:
    hasty.cache.entries = {flow(1): OWNER}
    hasty.cache.answering.clear()
    hasty.ask(1, 2)
    assert await hasty.settled(2) == {"timeout": 2}
    assert hasty.relay.answers == []
    hasty.cache.answering.set()
    assert await hasty.relay.answered() == [(0, flow(1), OWNER)]
    await hasty.lookups.stop()
    assert hasty.relay.answers == []


async def test_a_question_that_waited_too_long_for_its_turn_gets_no_time(hasty: Desk) -> None:
    hasty.cache.answering.clear()
    hasty.lookups.ask([(0, flow(1))], asyncio.get_running_loop().time() - 1000)
    assert await hasty.settled(1) == {"timeout": 1}


async def test_a_cache_that_fails_says_nothing_about_a_flow(desk: Desk) -> None:
    desk.cache.failing = True
    desk.ask(1, 2)
    assert await desk.settled(2) == {"error": 2}
    assert desk.relay.answers == []


async def test_a_cache_that_keeps_failing_is_left_alone(desk: Desk) -> None:
    desk.cache.failing = True
    for failure in range(FAILURES):
        desk.ask(1)
        await desk.settled(failure + 1)
    assert desk.breaker.is_open
    desk.ask(1, 2)
    assert desk.relay.answers == [(0, flow(1), None), (0, flow(2), None)], "at once"
    assert desk.cache.calls == FAILURES
    assert desk.results == {"error": FAILURES, "refused": 2}


async def test_a_cache_that_is_always_slow_is_left_alone(hasty: Desk) -> None:
    hasty.cache.answering.clear()
    for failure in range(FAILURES):
        hasty.ask(1)
        await hasty.settled(failure + 1)
    assert hasty.breaker.is_open
    assert hasty.results == {"timeout": FAILURES}
    hasty.ask(1)
    assert hasty.relay.answers == [(0, flow(1), None)], "at once"


async def test_questions_that_cannot_be_asked_in_time_are_left_for_the_next_packet(
    desk: Desk,
) -> None:
    desk.cache.answering.clear()
    desk.ask(*range(10_000))
    refused = desk.results["refused"]
    assert 0 < refused < 10_000
    desk.cache.answering.set()
    answers = await desk.relay.answered(10_000 - refused)
    assert answers == [(0, flow(number), None) for number in range(10_000 - refused)]
    desk.ask(9_999)
    assert await desk.relay.answered() == [(0, flow(9_999), None)], "there is room again"
    assert not desk.breaker.is_open, "that was not the cache's fault"


async def test_questions_of_many_wake_ups_share_a_look_up_while_others_are_on_their_way(
    desk: Desk,
) -> None:
    desk.cache.answering.clear()
    for number in range(20):
        desk.ask(number)
    desk.cache.answering.set()
    await desk.relay.answered(20)
    assert [len(flows) for flows in desk.cache.asked] == [1, 1, 18]
    assert desk.results == {"miss": 20}


async def test_stopping_gives_up_what_is_on_its_way(desk: Desk) -> None:
    desk.cache.answering.clear()
    desk.ask(1)
    await asyncio.sleep(0)
    await desk.lookups.stop()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert desk.relay.answers == []
