"""Tables of a media report: a line per server, its cost first, and then how it served."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Final

from firsthop.bench import report as reports
from firsthop.bench.media.figures import CPU, EARS, GAP
from firsthop.bench.report import Report, Row
from firsthop.bench.sheet import Line, Section, Sheet

_HEADINGS: Final = ("CPU (ratio)", "gap p99", "to ear p50 / p95")
#: Metrics that stand in the line of another row.
_BESIDE: Final = (GAP, *EARS.values())


def _sections(report: Report) -> Iterator[Section]:
    figures = [row for row in report.rows if row.metric not in _BESIDE]
    for (case, metric), rows in groupby(figures, key=lambda row: (row.case, row.metric)):
        heading = case if metric == CPU else f"{case}: {metric}"
        yield Section(heading, [_line(report, row) for row in rows])


def _line(report: Report, row: Row) -> Line:
    beside = [[GAP], [*EARS.values()]] if row.metric == CPU else [[], []]
    cells = [[row]]
    for metrics in beside:
        found = (report.row(row.case, row.contender, metric) for metric in metrics)
        cells.append([one for one in found if one is not None])
    target = "" if row.target is None else f"{row.target.of} {row.target}"
    return Line(row.contender, cells, target)


def _shown(row: Row) -> str:
    text = reports.figure(row.value)
    if row.unit not in ("", "ms"):
        text += f" {row.unit}"
    return text if row.ratio is None else f"{text} ({row.ratio:.2f})"


SHEET: Final = Sheet(corner="ms", headings=_HEADINGS, sections=_sections, shown=_shown)
"""Everything, in as few lines as there are servers and cases."""
