"""The table of set-up: a section per distance, a line per server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from firsthop.bench.report import Report, Row
from firsthop.bench.setup.servers import RELAYED
from firsthop.bench.setup.stages import (
    ADDED,
    CONNECTED,
    EVERYWHERE,
    STAGES,
    TRIPS,
    WHOLE,
    case_of,
)
from firsthop.bench.sheet import Line, Section, Sheet

#: Short, so that names and figures fit into 80 columns.
_HEADINGS: Final = ("answer", "ICE", "connected", "audio", "channel")


def _shown(row: Row) -> str:
    """Milliseconds, and tenths of round trips; what is added may be less than none."""
    return f"{row.value:,.0f}" if row.metric in (*STAGES, WHOLE) else f"{row.value:.1f}"


def _sections(report: Report) -> Iterator[Section]:
    # What the relay adds everywhere is no case with stages.
    cases = list(dict.fromkeys(row.case for row in report.rows if row.metric in STAGES))
    names = list(dict.fromkeys(row.contender for row in report.rows))
    for case in cases:
        yield Section(case, _lines(report, case, names, STAGES))
        in_trips = [f"{stage}, {TRIPS}" for stage in STAGES]
        if lines := _lines(report, case, names, in_trips):
            yield Section(f"{case}, {TRIPS}", lines)
    wholes = [(name, report.row(case_of(0), name, WHOLE)) for name in names]
    yield Section(f"{WHOLE}, {case_of(0)}", _connected(wholes))
    trips = [(case, report.row(case, RELAYED, f"{ADDED}, {TRIPS}")) for case in cases]
    everywhere = (f"{EVERYWHERE}, ms", report.row(EVERYWHERE, RELAYED, ADDED))
    yield Section(
        ADDED, _connected([everywhere, *((f"{case}, {TRIPS}", row) for case, row in trips)])
    )


def _lines(report: Report, case: str, names: list[str], metrics: Sequence[str]) -> list[Line]:
    lines = []
    for name in names:
        rows = [report.row(case, name, metric) for metric in metrics]
        if any(rows):
            lines.append(Line(name, [[row] if row else [] for row in rows]))
    return lines


def _connected(named: Sequence[tuple[str, Row | None]]) -> list[Line]:
    """Return lines with one figure, below `CONNECTED`."""
    at = STAGES.index(CONNECTED)
    return [
        Line(name, [[row] if place == at else [] for place in range(len(STAGES))], _target(row))
        for name, row in named
        if row is not None
    ]


def _target(row: Row) -> str:
    return "" if row.target is None else str(row.target)


SHEET: Final = Sheet(corner="ms", headings=_HEADINGS, sections=_sections, shown=_shown)
"""All of set-up."""
