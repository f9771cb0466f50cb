"""The tables: set-up by way, media by way, gaps by fault."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from firsthop.bench.global_ import faults
from firsthop.bench.global_.gaps import SILENT, TO_AUDIO
from firsthop.bench.global_.measures import CANDIDATES, MEDIA, MEDIA_METRICS, SETUP
from firsthop.bench.recovery.run import DOWN_P50, DOWN_P99, UP_P50, UP_P99
from firsthop.bench.report import Report, Row
from firsthop.bench.setup.stages import STAGES, TRIPS
from firsthop.bench.sheet import Line, Section, Sheet

#: Short, so that names and figures fit into 80 columns. The first ones are those of set-up.
_HEADINGS: Final = ("cand.", "answer", "ICE", "conn.", "audio", "chan.")
_COLUMNS: Final = (CANDIDATES, *STAGES)
_GAPS: Final = (UP_P50, UP_P99, DOWN_P50, DOWN_P99)


def _shown(row: Row) -> str:
    """Milliseconds, tenths of round trips, and percents."""
    return f"{row.value:,.0f}" if row.unit == "ms" and row.value >= 10 else f"{row.value:.1f}"


def _sections(report: Report) -> Iterator[Section]:
    names = _names(report, SETUP)
    yield Section("set-up, ms", [_line(report, SETUP, name, _COLUMNS) for name in names])
    trips = [f"{stage}, {TRIPS}" for stage in _COLUMNS]
    yield Section("set-up, round trips", [_line(report, SETUP, name, trips) for name in names])
    lines = [_line(report, MEDIA, name, MEDIA_METRICS) for name in names]
    yield Section("media: ms, and % lost", lines, ("RTT", "jitter", "up", "down"))
    for source in _names(report, faults.NONE):
        broken = [fault for fault in faults.IN_MID_CALL if report.row(fault, source, UP_P50)]
        yield Section(
            f"gaps {source}, ms",
            [_gap_line(report, fault, source, _GAPS) for fault in broken],
            ("up p50", "p99", "dn. p50", "p99"),
        )
    again = [f"{what} {percent}" for what in (TO_AUDIO, SILENT) for percent in ("p50", "p99")]
    for source in _names(report, faults.REGION):
        yield Section(
            f"gaps {source}, ms: {TO_AUDIO} · {SILENT}",
            [_gap_line(report, faults.REGION, source, again)],
            ("p50", "p99", "p50", "p99"),
        )


def _names(report: Report, case: str) -> list[str]:
    return list(dict.fromkeys(row.contender for row in report.rows if row.case == case))


def _line(report: Report, case: str, name: str, metrics: Sequence[str]) -> Line:
    rows = [report.row(case, name, metric) for metric in metrics]
    return Line(name, [[row] if row else [] for row in rows])


def _gap_line(report: Report, fault: str, source: str, metrics: Sequence[str]) -> Line:
    found = [row for metric in metrics if (row := report.row(fault, source, metric))]
    bounds = [f"{row.target.bound:,g}" for row in found if row.target is not None]
    target = "≤ " + " · ".join(bounds) if bounds else ""
    return Line(fault, [[row] for row in found], target)


SHEET: Final = Sheet(corner="", headings=_HEADINGS, sections=_sections, shown=_shown)
"""All of it."""
