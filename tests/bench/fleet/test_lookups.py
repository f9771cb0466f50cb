"""Flows that all ask at once: a relay answers so many, and the others ask again."""

from __future__ import annotations

import numpy as np

from firsthop.bench.fleet.lookups import ask


def moved(flows: int, relays: int = 1) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    return np.arange(flows, dtype=np.intp) % relays


def test_a_few_flows_wait_for_their_look_up_only() -> None:
    asked = ask(np.random.default_rng(1), moved(40), 1, workers=1)
    assert asked.gaps_ms.max() < 20
    assert 0.8 < float(np.median(asked.gaps_ms)) < 1.6
    assert asked.rate == 2000
    assert 0 < asked.parked <= 40


def test_more_than_a_relay_can_answer_ask_again_until_all_are_answered() -> None:
    asked = ask(np.random.default_rng(1), moved(20_000), 1, workers=1)
    # 20,000 at 40 a millisecond take half a second.
    assert 450 < asked.gaps_ms.max() < 1500
    assert asked.gaps_ms.min() < 5


def test_what_waits_is_bounded_by_the_room_of_the_workers() -> None:
    one, four = (
        ask(np.random.default_rng(1), moved(50_000), 1, workers=workers) for workers in (1, 4)
    )
    assert one.parked <= 3 * 1024 < four.parked <= 4 * 3 * 1024


def test_relays_do_not_wait_for_each_other() -> None:
    alone = ask(np.random.default_rng(1), moved(5000), 1, workers=4)
    each = ask(np.random.default_rng(1), moved(50_000, relays=10), 10, workers=4)
    assert abs(alone.gaps_ms.max() - each.gaps_ms.max()) < 100
    assert each.rate == alone.rate


def test_nothing_moved_is_nothing_asked() -> None:
    asked = ask(np.random.default_rng(1), moved(0), 3, workers=4)
    assert (len(asked.gaps_ms), asked.rate, asked.parked) == (0, 0, 0)
