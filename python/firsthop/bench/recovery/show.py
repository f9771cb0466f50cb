"""The table of gaps: a line per fault and kind of call, both ways side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Final

from firsthop.bench.recovery.run import (
    DOWN_LOST,
    DOWN_P50,
    DOWN_P99,
    UP_LOST,
    UP_P50,
    UP_P99,
)
from firsthop.bench.report import Report, Row
from firsthop.bench.sheet import Line, Section, Sheet

#: Per column: what stands in it, one behind the other.
_COLUMNS: Final = ((UP_P50, UP_P99), (UP_LOST,), (DOWN_P50, DOWN_P99), (DOWN_LOST,))


def shown(row: Row) -> str:
    """Tenths of a millisecond are what a busy machine leaves of precision."""
    return f"{row.value:.1f}" if row.unit and row.value < 100 else f"{row.value:,.0f}"


def _sections(report: Report) -> Iterator[Section]:
    for fault, of_fault in groupby(report.rows, key=lambda row: row.case):
        yield Section(
            fault,
            [
                _line(contender, {row.metric: row for row in rows})
                for contender, rows in groupby(of_fault, key=lambda row: row.contender)
            ],
        )


def _line(contender: str, rows: Mapping[str, Row]) -> Line:
    cells = [[rows[metric] for metric in metrics if metric in rows] for metrics in _COLUMNS]
    return Line(contender, cells, _targets(rows))


def _targets(rows: Mapping[str, Row]) -> str:
    """Both directions have the same targets, or nearly."""
    targets = []
    if UP_P99 in rows and rows[UP_P99].target is not None:
        targets.append(str(rows[UP_P99].target))
    if UP_LOST in rows and rows[UP_LOST].target is not None:
        targets.append("0 lost")
    return ", ".join(targets)


SHEET: Final = Sheet(
    corner="p50 / p99",
    headings=("up, ms", "lost", "down, ms", "lost"),
    sections=_sections,
    shown=shown,
    one_table=True,
)
"""All gaps."""
