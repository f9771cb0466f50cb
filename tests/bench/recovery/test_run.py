"""Rows and targets, made of what calls saw."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest

from firsthop.bench.recovery import faults
from firsthop.bench.recovery.faults import Seen
from firsthop.bench.recovery.run import DOWN_LOST, UP_LOST, UP_P50, UP_P99, Kind, contender, rows
from firsthop.bench.report import Report, Row

CALM = Seen(
    fault=faults.NONE,
    redis=True,
    talking=True,
    up_gaps_ms=[0.0, 1.0, 2.0],
    down_gaps_ms=[0.5, 0.5, 0.5],
    up_lost=0,
    up_sent=300,
    down_lost=0,
    down_sent=300,
    late_ms=0.1,
)


def report(*seen: Seen) -> Report:
    by_kind: dict[Kind, list[Seen]] = defaultdict(list)
    for one in seen:
        by_kind[one.fault, one.redis, one.talking].append(one)
    return Report("recovery", {}, rows(by_kind))


def of(found: Report, seen: Seen, metric: str) -> Row:
    row = found.row(seen.fault, contender((seen.fault, seen.redis, seen.talking)), metric)
    assert row is not None
    return row


def test_percentiles_are_over_the_calls_of_all_chains_and_the_spread_over_chains() -> None:
    other = replace(CALM, up_gaps_ms=[9.0, 9.0, 9.0], up_lost=2)
    found = report(CALM, other)
    middle, high, lost = (of(found, CALM, metric) for metric in (UP_P50, UP_P99, UP_LOST))
    assert (middle.value, middle.low, middle.high) == (2.0, 1.0, 9.0)
    assert (high.value, high.low, high.high) == (9.0, 2.0, 9.0)
    assert (lost.value, lost.low, lost.high, lost.note) == (2, 0, 2, "of 600")


def test_a_run_in_which_the_stand_ins_were_late_has_no_gaps_and_still_its_losses() -> None:
    late = replace(CALM, up_gaps_ms=[9.0, 9.0, 9.0], up_lost=2, late_ms=5.1)
    found = report(CALM, late)
    high = of(found, CALM, UP_P99)
    assert (high.value, high.high) == (2.0, 2.0)
    assert high.note == "longest 2.0 ms, 3 calls; 1 of 2 runs unfit"
    assert of(found, CALM, UP_LOST).value == 2


def test_a_target_does_not_hold_if_no_run_was_fair() -> None:
    late = replace(CALM, fault=faults.UPGRADE, late_ms=5.1)
    high = of(report(late), late, UP_P99)
    assert (high.value, high.holds) == (2.0, False)


def test_silent_agents_have_no_figures_of_the_way_down() -> None:
    silent = replace(CALM, talking=False, down_gaps_ms=[])
    assert {row.metric for row in report(silent).rows} == {UP_P50, UP_P99, UP_LOST}


@pytest.mark.parametrize("fault", faults.REDIS_FAULTS)
@pytest.mark.parametrize(("gap", "holds"), [(7.0, True), (7.1, False)])
def test_what_happens_to_redis_may_cost_5_ms_more_than_nothing(
    fault: str, gap: float, holds: bool
) -> None:
    broken = replace(CALM, fault=fault, up_gaps_ms=[gap, 0.0, 0.0])
    assert of(report(CALM, broken), broken, UP_P99).holds is holds


@pytest.mark.parametrize(
    ("fault", "redis", "talking", "bound"),
    [
        (faults.NONE, True, True, None),
        (faults.UPGRADE, True, True, 5),
        (faults.UPGRADE, False, False, 5),
        (faults.CRASH, False, True, 100),
        (faults.CRASH, True, False, 100),
        (faults.CRASH, False, False, None),
        (faults.CRASH_WHOLE, True, True, None),
        (faults.MOVE, True, False, 10),
        (faults.MOVE, False, True, None),
    ],
)
def test_gaps_have_their_targets(
    fault: str, redis: bool, talking: bool, bound: float | None
) -> None:
    seen = replace(CALM, fault=fault, redis=redis, talking=talking)
    target = of(report(seen), seen, UP_P99).target
    assert (target.bound if target else None) == bound


@pytest.mark.parametrize(
    ("fault", "redis", "bound"),
    [
        (faults.NONE, True, True),
        (faults.UPGRADE, False, True),
        (faults.MOVE, True, True),
        (faults.KILLED, True, True),
        (faults.MOVE, False, False),
        (faults.CRASH, True, False),
    ],
)
def test_one_packet_lost_is_too_many_where_none_may_be(
    fault: str, redis: bool, bound: bool
) -> None:
    seen = replace(CALM, fault=fault, redis=redis, down_lost=1)
    found = report(seen)
    assert of(found, seen, UP_LOST).holds is (True if bound else None)
    assert of(found, seen, DOWN_LOST).holds is (False if bound else None)


def test_rows_come_by_fault() -> None:
    late = replace(CALM, fault=faults.KILLED)
    assert [row.case for row in report(late, CALM).rows][:: len(report(CALM).rows)] == [
        faults.NONE,
        faults.KILLED,
    ]
