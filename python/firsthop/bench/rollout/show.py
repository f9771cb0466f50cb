"""The tables: what became of calls in each step, and of pods."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from firsthop.bench.report import Report, Row
from firsthop.bench.rollout.measures import (
    BROKEN,
    CALLS,
    DRAINED,
    FIRST_CALL,
    GAP,
    LOST,
    OF_CALLS,
    OF_PODS,
    PODS,
    SHORT,
    UNREADY,
)
from firsthop.bench.rollout.rehearsal import OUT
from firsthop.bench.sheet import Line, Section, Sheet

#: Short, so that names and figures fit into 80 columns.
_SHORT: Final = {
    LOST: "lost",
    GAP: "gap, ms",
    UNREADY: "off, ms",
    DRAINED: "end",
    BROKEN: "wrong",
    FIRST_CALL: "after",
}


def _headings(metrics: Sequence[str]) -> tuple[str, ...]:
    return tuple(_SHORT.get(metric, metric) for metric in metrics)


def _shown(row: Row) -> str:
    return f"{row.value:.1f} s" if row.unit == "s" else f"{row.value:,.0f}"


def _sections(report: Report) -> Iterator[Section]:
    cases = dict.fromkeys(row.case for row in report.rows if row.case != PODS)
    called = [
        _line(report, case, who, case if who == SHORT else f"{case}: {who}", OF_CALLS)
        for case in cases
        for who in _who(report, case)
        if report.row(case, who, CALLS)
    ]
    yield Section("calls", called)
    pods = [_line(report, PODS, part, part, OF_PODS) for part in _who(report, PODS)]
    yield Section("pods", pods, _headings(OF_PODS))
    metrics = (FIRST_CALL,)
    added = [
        _line(report, OUT, who, who, metrics)
        for who in _who(report, OUT)
        if report.row(OUT, who, FIRST_CALL)
    ]
    if added:
        yield Section("first call", added, _headings(metrics))


def _who(report: Report, case: str) -> list[str]:
    return list(dict.fromkeys(row.contender for row in report.rows if row.case == case))


def _line(report: Report, case: str, who: str, name: str, metrics: Sequence[str]) -> Line:
    found = [report.row(case, who, metric) for metric in metrics]
    bounds = [f"{row.target.bound:,g}" for row in found if row is not None and row.target]
    # There is room for one.
    target = f"≤ {bounds[0]}" if len(set(bounds)) == 1 else ""
    return Line(name, [[row] if row else [] for row in found], target)


SHEET: Final = Sheet(corner="", headings=_headings(OF_CALLS), sections=_sections, shown=_shown)
"""All of it."""
