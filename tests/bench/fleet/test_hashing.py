"""Flows over relays: what moves when one comes or goes."""

from __future__ import annotations

import numpy as np
import pytest

from firsthop.bench.fleet import hashing
from firsthop.bench.fleet.choice import choices

FLOWS = 100_000


@pytest.mark.parametrize("count", [2, 5, 16])
def test_only_flows_of_a_relay_that_is_lost_move_and_they_come_back(count: int) -> None:
    rng = np.random.default_rng(1)
    flows, weights = hashing.hashes(rng, FLOWS), hashing.hashes(rng, count)
    alive = np.ones(count, dtype=np.bool_)
    before = hashing.by_slot(flows, hashing.slots(weights, alive))
    alive[1] = False
    after = hashing.by_slot(flows, hashing.slots(weights, alive))
    assert set(before[before != after]) == {1}
    assert 1 not in after
    alive[1] = True
    assert (hashing.by_slot(flows, hashing.slots(weights, alive)) == before).all()


def test_the_share_that_moves_is_that_of_one_relay() -> None:
    for choice in choices(FLOWS, np.random.default_rng(2)):
        assert choice.needlessly == 0
        assert 0.5 / choice.relays < choice.moved < 1.6 / choice.relays


def test_when_none_is_alive_all_are_used() -> None:
    weights = hashing.hashes(np.random.default_rng(3), 4)
    nobody, everybody = np.zeros(4, dtype=np.bool_), np.ones(4, dtype=np.bool_)
    assert (hashing.slots(weights, nobody) == hashing.slots(weights, everybody)).all()


def test_the_rank_of_a_relay_is_splitmix64s() -> None:
    # The first three outputs of SplitMix64 from seed 0: its state is a multiple of the step.
    with np.errstate(over="ignore"):
        states = np.arange(1, 4, dtype=np.uint64) * np.uint64(0x9E37_79B9_7F4A_7C15)
    mixed = [f"{value:016x}" for value in hashing.mixed(states)]
    assert mixed == ["e220a8397b1dcdaf", "6e789e6aa1b965f4", "06c45d188009454f"]


def test_a_remainder_moves_nearly_all() -> None:
    flows = hashing.hashes(np.random.default_rng(4), FLOWS)
    before, after = hashing.by_remainder(flows, 10), hashing.by_remainder(flows, 9)
    assert (before != after).mean() == pytest.approx(0.9, abs=0.01)
