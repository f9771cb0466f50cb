"""The table of a turn: a section per stage, a line per contender."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from firsthop.bench.report import Report, Row
from firsthop.bench.sheet import Line, Section, Sheet
from firsthop.bench.voice.run import CPU, FIGURES, METRICS, named


def _shown(row: Row) -> str:
    """Milliseconds are what counts; tenths of them are noise."""
    return f"{row.value:,.0f}"


def _sections(report: Report) -> Iterator[Section]:
    for metric in METRICS:
        names = [named(metric, figure) for figure in FIGURES]
        if lines := _lines(report, names):
            yield Section(metric, lines)
    if lines := _lines(report, [CPU]):
        yield Section(f"{CPU}, all processes", lines)


def _lines(report: Report, metrics: Sequence[str]) -> list[Line]:
    """Return a line per contender, with a row for each of `FIGURES`, or with one."""
    of_metrics = [row for row in report.rows if row.metric in metrics]
    lines = []
    for contender in dict.fromkeys(row.contender for row in of_metrics):
        rows = [row for row in of_metrics if row.contender == contender]
        cells = [[row] for row in rows] + [[]] * (len(FIGURES) - len(rows))
        lines.append(Line(contender, cells, _target(rows)))
    return lines


def _target(rows: Sequence[Row]) -> str:
    return next((f"p95 {row.target}" for row in rows if row.target is not None), "")


SHEET: Final = Sheet(corner="ms", headings=FIGURES, sections=_sections, shown=_shown)
"""All of a turn."""
