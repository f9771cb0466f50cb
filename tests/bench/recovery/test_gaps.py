"""Gaps and losses of a log."""

from __future__ import annotations

import pytest

from firsthop.bench.recovery.gaps import (
    ON_THEIR_WAY_NS,
    gaps_ms,
    longest_gap_ms,
    losses,
    percentile,
)

MS = 1_000_000


@pytest.mark.parametrize(
    ("seen_ms", "gap"),
    [
        ([10, 30, 50, 70, 90], 0),
        ([10, 30, 75, 90], 25),
        ([75, 10, 90, 30], 25),
        # Both ends count: what came late, and what did not come back.
        ([60, 80], 40),
        ([10, 30], 50),
        ([], 80),
        # What lies outside is not looked at.
        ([-5, 60, 80, 105], 40),
    ],
)
def test_a_gap_is_the_longest_silence_beyond_the_pacing(seen_ms: list[int], gap: float) -> None:
    assert longest_gap_ms((at * MS for at in seen_ms), 0, 100 * MS) == gap


def test_each_call_has_a_gap_of_its_own() -> None:
    seen = [(0, 0, 20 * MS), (2, 0, 20 * MS), (0, 1, 40 * MS), (9, 0, 30 * MS)]
    assert gaps_ms(seen, [0, 1, 2], 0, 60 * MS) == [0, 40, 20]


def test_lost_is_what_was_sent_and_never_seen() -> None:
    sent = [(call, number, number * 20 * MS) for call in (0, 1, 2) for number in range(1, 5)]
    seen = [(0, 1, 21 * MS), (0, 2, 41 * MS), (0, 4, 81 * MS), (1, 3, 61 * MS)]
    assert losses(sent, seen, [0], 0, ON_THEIR_WAY_NS + 100 * MS) == (1, 4)
    assert losses(sent, seen, [0, 1], 0, ON_THEIR_WAY_NS + 100 * MS) == (4, 8)


def test_what_may_still_be_on_its_way_is_not_lost_and_what_was_sent_before_neither() -> None:
    sent = [(0, 1, 20 * MS), (0, 2, 40 * MS), (0, 3, 60 * MS)]
    assert losses(sent, [], [0], 30 * MS, ON_THEIR_WAY_NS + 50 * MS) == (1, 1)


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 50), (99, 99), (100, 100)])
def test_a_percentile_is_one_of_the_values(percent: float, value: float) -> None:
    assert percentile([float(number) for number in range(100, 0, -1)], percent) == value


def test_of_few_values_the_99th_percentile_is_the_largest() -> None:
    assert percentile([3.0, 1.0, 2.0], 99) == 3
    assert percentile([7.0], 50) == 7
