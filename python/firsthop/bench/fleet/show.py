"""The table: a line per thing that happens, with shares, rates and silences."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Final

from firsthop.bench.fleet.run import FULL_AFTER, P50, P99, PARKED, RATE, SHARE
from firsthop.bench.report import Report, Row
from firsthop.bench.sheet import Line, Section, Sheet

_COLUMNS: Final = ((SHARE,), (RATE,), (PARKED,), (P50, P99), (FULL_AFTER,))


def shown(row: Row) -> str:
    """Return a figure of a simulation: a share with tenths, all else whole."""
    if row.metric == SHARE:
        return f"{row.value:.1f} %"
    units = {"/s": "/s", "s": " s"}
    return f"{row.value:,.0f}{units.get(row.unit, '')}"


def _sections(report: Report) -> Iterator[Section]:
    for case, of_case in groupby(report.rows, key=lambda row: row.case):
        lines = groupby(of_case, key=lambda row: row.contender)
        yield Section(case, [_line(contender, list(rows)) for contender, rows in lines])


def _line(contender: str, rows: list[Row]) -> Line:
    by_metric = {row.metric: row for row in rows}
    cells = [[by_metric[metric] for metric in of if metric in by_metric] for of in _COLUMNS]
    return Line(contender, cells, ", ".join(str(row.target) for row in rows if row.target))


SHEET: Final = Sheet(
    corner="p50 / p99: of silence",
    headings=("share", "per second", "parked", "p50 / p99, ms", "full after"),
    sections=_sections,
    shown=shown,
)
"""All that was simulated."""
