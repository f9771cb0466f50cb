"""The table of quality: a section per network, a line per listener."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from firsthop.bench.quality.run import DELAY, DELAY_P95, DRIFT, MOS
from firsthop.bench.report import Report, Row
from firsthop.bench.sheet import Line, Section, Sheet

#: What an eye can take in; the rest is among the JSON lines.
_HEADINGS: Final = {MOS: "MOS", DELAY: "delay", DELAY_P95: "p95", DRIFT: "drift"}


def _shown(row: Row) -> str:
    return f"{row.value:.2f}" if row.metric == MOS else f"{round(row.value):,}"


def _sections(report: Report) -> Iterator[Section]:
    for case in dict.fromkeys(row.case for row in report.rows):
        of_case = [row for row in report.rows if row.case == case]
        yield Section(
            case,
            [
                _line(listener, [row for row in of_case if row.contender == listener])
                for listener in dict.fromkeys(row.contender for row in of_case)
            ],
        )


def _line(listener: str, rows: list[Row]) -> Line:
    cells = [[row for row in rows if row.metric == metric] for metric in _HEADINGS]
    targets = [f"{row.target} {row.unit}".strip() for row in rows if row.target is not None]
    return Line(listener, cells, ", ".join(targets))


SHEET: Final = Sheet(
    corner="delays in ms",
    headings=tuple(_HEADINGS.values()),
    sections=_sections,
    shown=_shown,
    one_table=True,
)
"""All networks."""
