"""What keeps the figures of some calls from counting."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from bench.media.sights import GOOD, gaps
from firsthop.bench.media.seen import gap_ms


def test_cost_is_cpu_time_per_session_and_second() -> None:
    assert GOOD.cpu_ms == pytest.approx(5.0)
    assert replace(GOOD, sessions=20).cpu_ms == pytest.approx(2.5)


def test_calls_in_which_all_came_back_in_time_are_fit() -> None:
    assert list(GOOD.faults()) == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"connected": 8}, "2 of 10 not connected"),
        ({"sent": 985}, "the load sent 98.5% of its packets"),
        ({"late": 6}, "the load sent 0.6% of its packets late"),
        ({"load_dropped": 1}, "the load's sockets were full"),
        ({"received": 989}, "98.9% of all packets came back"),
        ({"lost": 10}, "0.99% of packets lost"),
        ({"dropped": 1_200}, "its socket was full for 1,200 packets"),
        ({"gaps": gaps(ms20=980, ms40=20)}, "gap p99 40 ms"),
        ({"received": 0, "gaps": gaps()}, "gap p99 inf ms"),
    ],
)
def test_a_fault_is_told_by_its_cause(changes: dict[str, Any], fault: str) -> None:
    assert fault in list(replace(GOOD, **changes).faults())


def test_a_hundredth_may_be_late() -> None:
    assert not list(replace(GOOD, gaps=gaps(ms20=990, ms40=10)).faults())


def test_a_percentile_is_the_upper_end_of_its_bin() -> None:
    counted = gaps(ms0=1, ms20=97, ms25=1, ms499=1)
    assert [gap_ms(counted, part) for part in (0.01, 0.5, 0.98, 0.99, 1.0)] == [
        0.25,
        20.25,
        20.25,
        25.25,
        499.25,
    ]
    assert gap_ms([], 0.99) == math.inf


def test_a_server_may_leave_out_silence_where_that_is_its_way() -> None:
    pauses_left_out = replace(GOOD, received=GOOD.sent * 9 // 10)
    assert any("came back" in fault for fault in pauses_left_out.faults())
    assert not list(replace(pauses_left_out, least_rate=0.85).faults())
