"""When a cache that fails is asked, and when it is left alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from firsthop.flowcache.breaker import FAILURES, FIRST_PAUSE, LONGEST_PAUSE, Breaker


def fail(breaker: Breaker, times: int, now: float) -> None:
    for _ in range(times):
        assert breaker.allows(now)
        breaker.failed(now, "a test")


def opened(changes: list[str | None], now: float = 1000.0) -> Breaker:
    breaker = Breaker(changes.append)
    fail(breaker, FAILURES, now)
    return breaker


def test_failures_in_a_row_open_it_and_fewer_do_not() -> None:
    changes: list[str | None] = []
    breaker = Breaker(changes.append)
    fail(breaker, FAILURES - 1, 1000)
    breaker.succeeded(1000)
    fail(breaker, FAILURES - 1, 1000)
    assert breaker.allows(1000)
    assert changes == []
    breaker.failed(1000, "a test")
    assert breaker.is_open
    assert not breaker.allows(1000)
    assert changes == ["a test"]


def test_after_a_pause_one_probe_is_let_through_and_its_success_closes_it() -> None:
    changes: list[str | None] = []
    breaker = opened(changes)
    assert not breaker.allows(1000 + FIRST_PAUSE * 0.99)
    assert breaker.allows(1000 + FIRST_PAUSE)
    assert not breaker.allows(1000 + FIRST_PAUSE), "one"
    breaker.succeeded(1000 + FIRST_PAUSE)
    assert not breaker.is_open
    assert breaker.allows(1000 + FIRST_PAUSE)
    assert changes == ["a test", None]


def test_each_probe_that_fails_doubles_the_pause_up_to_a_limit() -> None:
    changes: list[str | None] = []
    breaker, now, pause = opened(changes), 1000.0, FIRST_PAUSE
    for _ in range(10):
        now += pause
        assert breaker.allows(now)
        breaker.failed(now, "a test")
        pause = min(2 * pause, LONGEST_PAUSE)
        assert not breaker.allows(now + pause - 0.01)
    assert pause == LONGEST_PAUSE
    assert changes == ["a test"], "said once"


def test_failures_that_were_on_their_way_when_it_opened_do_not_count() -> None:
    breaker = opened([])
    for _ in range(100):
        breaker.failed(1000, "a test")
    assert breaker.allows(1000 + FIRST_PAUSE)


def test_a_probe_whose_outcome_nobody_reports_is_followed_by_another() -> None:
    breaker = opened([])
    assert breaker.allows(1000 + FIRST_PAUSE)
    assert breaker.allows(1000 + 2 * FIRST_PAUSE)


def test_one_that_opens_again_soon_pauses_for_longer_and_one_that_settled_does_not() -> None:
    breaker = opened([])
    assert breaker.allows(1001)
    breaker.succeeded(1001)
    fail(breaker, FAILURES, 1002)
    assert not breaker.allows(1002 + FIRST_PAUSE)
    assert breaker.allows(1002 + 2 * FIRST_PAUSE)
    breaker.succeeded(1004)
    fail(breaker, FAILURES, 5000)
    assert breaker.allows(5000 + FIRST_PAUSE)


@given(st.lists(st.tuples(st.sampled_from(["ask", "good", "bad"]), st.floats(0, 5))))
def test_it_is_never_stuck_and_changes_are_told_in_turn(steps: list[tuple[str, float]]) -> None:
    changes: list[str | None] = []
    breaker, now = Breaker(changes.append), 1000.0
    for step, seconds in steps:
        now += seconds
        match step:
            case "ask":
                assert breaker.allows(now) or breaker.is_open
            case "good":
                breaker.succeeded(now)
                assert not breaker.is_open
            case _:
                breaker.failed(now, "a test")
    assert changes == [None if number % 2 else "a test" for number in range(len(changes))]
    assert breaker.is_open == (len(changes) % 2 == 1)
    assert breaker.allows(now + LONGEST_PAUSE)
