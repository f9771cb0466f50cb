"""Rounds in turns."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from firsthop.bench import rounds
from firsthop.bench.contender import Contender
from firsthop.bench.datagrams import Send
from firsthop.bench.isolation import Isolation
from firsthop.bench.load import Cost
from firsthop.bench.report import Row
from firsthop.bench.trace import Packet


class Fake(Contender):
    """A relay that is never started."""

    def __init__(self, name: str) -> None:
        nowhere = Isolation(core=0, other_core=None, realtime=False, notes=())
        super().__init__(nowhere, [], Path("/nowhere"))
        self.name = name

    def start(self) -> None:
        raise NotImplementedError

    def teach(self, clients: int) -> None:
        raise NotImplementedError

    def up(self, packets: Sequence[Packet]) -> list[Send]:
        raise NotImplementedError

    def down(self, packets: Sequence[Packet]) -> list[Send]:
        raise NotImplementedError


A, B = Fake("a"), Fake("b")


def test_everyone_has_a_turn_in_every_round_and_one_to_warm_up() -> None:
    seen = list(rounds.turns([A, B], 3, random.Random(1)))
    assert [turn for turn, _ in seen] == [0, 0, 1, 1, 2, 2, 3, 3]
    for first in range(0, 8, 2):
        assert {contender for _, contender in seen[first : first + 2]} == {A, B}


def test_the_order_changes_between_rounds() -> None:
    seen = [contender for _, contender in rounds.turns([A, B], 20, random.Random(1))]
    assert {A, B} == set(seen[::2])


def rows(costs: dict[int, list[Cost]]) -> list[Row]:
    """Measure A by what is given for each round."""
    return rounds.cost_rows(
        "up", rounds.turns([A], max(costs), random.Random(1)), lambda _, turn: costs[turn].pop(0)
    )


def test_the_warm_up_round_is_thrown_away() -> None:
    (row,) = rows({0: [Cost(10, 10, 99_999)], 1: [Cost(10, 10, 100)], 2: [Cost(10, 10, 300)]})
    assert (row.low, row.value, row.high) == (10, 20, 30)
    assert not row.unfit


def test_a_round_with_loss_is_measured_again() -> None:
    (row,) = rows({0: [Cost(10, 10, 0)], 1: [Cost(10, 9, 900), Cost(10, 10, 100)]})
    assert (row.value, row.note, row.unfit) == (10, "", False)


def test_a_round_that_stays_lossy_does_not_count_and_is_told() -> None:
    lossy = [Cost(10, 5, 500)] * 3
    (row,) = rows({0: [Cost(10, 10, 0)], 1: list(lossy), 2: [Cost(10, 10, 100)]})
    assert (row.value, row.note, row.unfit) == (10, "loss in 1 of 2 rounds", False)


def test_a_row_of_lossy_rounds_only_is_marked() -> None:
    (row,) = rows({0: [Cost(10, 10, 0)], 1: [Cost(10, 5, 500)] * 3})
    assert (row.value, row.note, row.unfit) == (100, "loss in 1 of 1 rounds", True)


def test_what_a_relay_does_when_idle_is_taken_off() -> None:
    assert Cost(10, 10, 500, idle_ns=100).ns_per_packet == 40


def test_a_row_tells_how_much_idle_work_was_taken_off() -> None:
    (row,) = rows({0: [Cost(10, 10, 0)], 1: [Cost(10, 10, 500, idle_ns=25)]})
    assert (row.value, row.note) == (47.5, "5.0% idle work taken off")


def test_a_relay_that_is_busy_with_something_else_is_not_measured_as_cheap() -> None:
    (row,) = rows({0: [Cost(10, 10, 0)], 1: [Cost(10, 10, 500, idle_ns=490)] * 3})
    assert (row.value, row.note, row.unfit) == (50, "work of its own in 1 of 1 rounds", True)


def test_ratios_are_to_the_reference_and_the_smallest_comes_first() -> None:
    made = [
        Row.of_rounds("up", name, rounds.CPU, "ns", [value])
        for name, value in (("b", 100.0), ("a", 50.0))
    ]
    relative = rounds.relative(made, "b")
    assert [(row.contender, row.reference, row.ratio) for row in relative] == [
        ("a", "b", 0.5),
        ("b", "b", 1.0),
    ]


def test_without_the_reference_there_are_no_ratios() -> None:
    made = [Row.of_rounds("up", "a", rounds.CPU, "ns", [50.0])]
    assert rounds.relative(made, "b") == made


def test_nothing_received_costs_without_end() -> None:
    assert Cost(10, 0, 5).ns_per_packet == pytest.approx(float("inf"))
