"""The fate of packets."""

from __future__ import annotations

from firsthop.bench.link import Conditions
from firsthop.bench.quality.cases import Case
from firsthop.bench.quality.trace import PACKET_S, Trace, trace

PACKETS = 5000


def arrived(case: Case, seed: int = 1) -> set[int]:
    return {arrival.packet for arrival in trace(case.conditions(seed), PACKETS).arrivals}


def test_one_seed_gives_one_trace_and_another_seed_another() -> None:
    case = Case(loss=0.1, jitter_ms=30, burst=3, reorder=0.05)
    assert trace(case.conditions(1), PACKETS) == trace(case.conditions(1), PACKETS)
    assert trace(case.conditions(1), PACKETS) != trace(case.conditions(2), PACKETS)


def test_on_a_clean_path_all_packets_arrive_when_they_are_sent() -> None:
    clean = trace(Conditions(), 3)
    assert [(one.packet, one.at_s) for one in clean.arrivals] == [(0, 0), (1, 0.02), (2, 0.04)]
    assert clean.mean_delay_s == 0


def test_what_is_lost_is_the_same_with_and_without_jitter() -> None:
    assert arrived(Case(loss=0.1)) == arrived(Case(loss=0.1, jitter_ms=60))


def test_what_a_network_loses_a_worse_one_loses_too() -> None:
    assert arrived(Case(loss=0.2)) < arrived(Case(loss=0.1)) < arrived(Case(loss=0.05))
    assert 0.08 < 1 - len(arrived(Case(loss=0.1))) / PACKETS < 0.12


def test_arrivals_are_in_their_own_order() -> None:
    late = trace(Case(reorder=0.05).conditions(1), PACKETS).arrivals
    assert [one.at_s for one in late] == sorted(one.at_s for one in late)
    assert [one.packet for one in late] != sorted(one.packet for one in late)


def test_the_mean_delay_is_that_of_what_arrives() -> None:
    jittery = trace(Case(loss=0.2, jitter_ms=30).conditions(1), PACKETS)
    # In order, a packet waits for those before it as well.
    assert 0.03 < jittery.mean_delay_s < 0.06
    assert min(one.at_s - one.packet * PACKET_S for one in jittery.arrivals) >= 0


def test_a_network_that_loses_everything_has_no_delay() -> None:
    assert trace(Conditions(loss=1), 10) == Trace(10, [])
    assert Trace(10, []).mean_delay_s == 0
