"""Rows, targets, and the ways to show them."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from firsthop.bench import report
from firsthop.bench.report import Report, Row, Target


def row(**more: object) -> Row:
    made = Row.of_rounds("up", "firsthop", "CPU per packet", "ns", [600.0, 560.0, 1000.0])
    return replace(made, **more)  # type: ignore[arg-type]


def of(*rows: Row) -> Report:
    return Report("relay", {"machine": "a toaster"}, list(rows), ["no compiler for toast"])


def test_a_row_is_the_median_of_its_rounds_with_the_extremes() -> None:
    made = row()
    assert (made.low, made.value, made.high) == (560, 600, 1000)


@pytest.mark.parametrize(
    ("target", "holds"),
    [
        (Target("ratio", 0.3), True),
        (Target("ratio", 0.25), True),
        (Target("ratio", 0.24), False),
        (Target("ratio", 0.25, at_least=True), True),
        (Target("ratio", 2.5, at_least=True), False),
        (Target("value", 600), True),
        (Target("value", 599), False),
        (None, None),
    ],
)
def test_a_target_holds_by_the_figure_that_it_is_about(
    target: Target | None, holds: bool | None
) -> None:
    assert row(ratio=0.25, target=target).holds is holds


def test_a_row_without_a_fair_round_holds_no_target() -> None:
    assert row(ratio=0.1, target=Target("ratio", 0.3), unfit=True).holds is False


def test_a_target_for_a_ratio_that_is_not_there_does_not_hold() -> None:
    assert row(ratio=None, target=Target("ratio", 0.3)).holds is False


def test_json_lines_are_one_object_for_the_run_and_one_per_row() -> None:
    found = of(row(reference="c-mmsg", ratio=0.25, target=Target("ratio", 0.2)), row())
    about, first, second = map(json.loads, report.json_lines(found))
    assert about == {
        "bench": "relay",
        "about": {"machine": "a toaster"},
        "remarks": ["no compiler for toast"],
    }
    assert first == {
        "bench": "relay",
        "case": "up",
        "contender": "firsthop",
        "metric": "CPU per packet",
        "value": 600,
        "unit": "ns",
        "spread": [560, 1000],
        "reference": "c-mmsg",
        "ratio": 0.25,
        "target": "ratio ≤ 0.2",
        "holds": False,
        "note": "",
    }
    assert (second["reference"], second["target"], second["holds"]) == (None, None, None)


def test_a_missed_target_stays_in_the_report() -> None:
    missed = row(ratio=0.9, target=Target("ratio", 0.3))
    found = of(row(ratio=0.2, target=Target("ratio", 0.3)), missed)
    assert found.missed() == [missed]
    assert "**no**" in report.markdown(found)


def test_the_table_names_what_was_measured_and_where() -> None:
    out = io.StringIO()
    found = of(row(ratio=0.25, target=Target("ratio", 0.2)), row(contender="c-mmsg"))
    Console(file=out, width=160).print(report.table(found))
    for text in ("up: CPU per packet", "600 ns", "560-1,000", "0.25", "≤ 0.2", "✗", "a toaster"):
        assert text in out.getvalue()
    assert "no compiler for toast" in out.getvalue()


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.05678, "0.0568"), (5.678, "5.68"), (56.78, "56.8"), (56_789.4, "56,789")],
)
def test_figures_have_three_digits_that_count(value: float, text: str) -> None:
    assert report.figure(value) == text
