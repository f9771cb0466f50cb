"""Percentiles."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop.load.measured import GAP_MS, gap_percentile, percentile


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.integers(1, 100))
def test_so_many_percent_are_not_more_than_a_percentile_and_fewer_than_one_before(
    values: list[float], percent: int
) -> None:
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100
    assert sum(value < found for value in values) < len(values) * percent / 100


def test_there_is_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 50)
    assert gap_percentile([0] * 2000, 50) is None


@given(st.lists(st.integers(0, 1998), min_size=1, max_size=50), st.sampled_from([50, 95, 99, 100]))
def test_a_percentile_of_a_histogram_is_that_of_its_values_but_for_a_bin(
    bins: list[int], percent: int
) -> None:
    gaps = [0] * 2000
    for one in bins:
        gaps[one] += 1
    assert gap_percentile(gaps, percent) == (percentile(bins, percent) + 1) * GAP_MS


def test_what_is_longer_than_all_bins_has_no_number() -> None:
    gaps = [0] * 1999 + [1]
    assert gap_percentile(gaps, 50) == math.inf
