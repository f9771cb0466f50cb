"""Numbers, durations and sums as people say them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop.agent.offline.numbers import duration, expression, number, words_of
from firsthop.agent.tools.arithmetic import evaluate


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("zero", 0),
        ("seven", 7),
        ("seventeen", 17),
        ("twenty five", 25),
        ("a hundred", 100),
        ("a hundred and five", 105),
        ("two hundred and fifty six", 256),
        ("nine hundred ninety nine", 999),
        ("one thousand two hundred", 1200),
        ("twenty five thousand three hundred and two", 25_302),
        ("a million", 1_000_000),
        ("two point five", 2.5),
        ("three point one four", 3.14),
        ("3.14", 3.14),
        ("1,200", 1200),
        ("42", 42),
    ],
)
def test_numbers_are_read(text: str, value: float) -> None:
    words = words_of(text)
    assert number(words) == (value, len(words))


@pytest.mark.parametrize(
    ("text", "value"),
    [("five six", 5), ("twenty and three", 20), ("two and two", 2), ("ten twenty", 10)],
)
def test_a_number_ends_where_another_begins(text: str, value: float) -> None:
    found = number(words_of(text))
    assert found is not None
    assert found[0] == value


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("set a timer for five minutes", 300),
        ("twenty five seconds", 25),
        ("one and a half minutes", 90),
        ("an hour and a half", 5400),
        ("half an hour please", 1800),
        ("a quarter of an hour", 900),
        ("a ten minute timer", 600),
        ("two hours and ten minutes", 7800),
        ("1 hour 20 minutes", 4800),
        ("90 seconds", 90),
        ("five apples", None),
        ("", None),
    ],
)
def test_durations_are_read(text: str, seconds: float | None) -> None:
    assert duration(words_of(text)) == seconds


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("what is twelve times twelve", 144),
        ("what's 3 + 4?", 7),
        ("how much is a hundred divided by eight", 12.5),
        ("two hundred and fifty six plus thirty one", 287),
        ("what is fifteen percent of eighty", 12),
        ("the square root of nine", 3),
        ("half of ten", 5),
        ("three squared plus two", 11),
        ("two to the power of ten", 1024),
        ("add five to seven", 12),
        ("subtract five from seven", 2),
        ("multiply six by seven", 42),
        ("divide nine by two", 4.5),
        ("one plus two plus three", 6),
        ("two minus", None),
        ("i have two apples", None),
        ("what time is it", None),
    ],
)
def test_sums_are_found_and_can_be_worked_out(text: str, value: float | None) -> None:
    found = expression(words_of(text))
    assert (None if found is None else evaluate(found)) == value


@given(
    st.text(max_size=100),
    st.lists(st.sampled_from("a one ten hundred point and half hour".split())),
)
def test_any_words_are_read_or_not(text: str, words: list[str]) -> None:
    for some in (words_of(text), words):
        duration(some)
        found = expression(some)
        with contextlib.suppress(ValueError):  # By zero, or too large: a sum all the same.
            assert found is None or evaluate(found) is not None
