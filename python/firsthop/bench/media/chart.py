"""Draws what sessions cost: a bar per server and case; and the gaps over ever more sessions."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from firsthop.bench import canvas
from firsthop.bench import report as reports
from firsthop.bench.canvas import Chart
from firsthop.bench.media.figures import CALLED, CPU, GAP, RAMP
from firsthop.bench.media.seen import LONGEST_GAP_MS
from firsthop.bench.media.servers import Firsthop
from firsthop.bench.report import Report, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH_INCHES: Final = 13.0
_INCHES_PER_BAR: Final = 0.27
_INCHES_AROUND: Final = 1.5
_LEAST_INCHES: Final = 4.6
_TICKS: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
_LEGEND: Final = (
    "pale bar: smallest to largest round · black mark: target · red: missed, or no round was fit"
)


def _bars(report: Report) -> list[Row]:
    """The costs of cases in which servers were measured in turns."""
    return [
        row
        for row in report.rows
        if row.metric == CPU
        and row.case != RAMP
        and report.row(row.case, row.contender, GAP) is not None
    ]


def _inches(report: Report) -> tuple[float, float] | None:
    bars = len(_bars(report))
    if not bars:
        return None
    return _WIDTH_INCHES, max(_LEAST_INCHES, bars * _INCHES_PER_BAR + _INCHES_AROUND)


def _fill(figure: Figure, report: Report) -> None:
    grid = figure.add_gridspec(2, 2, width_ratios=(3, 2))
    _draw_costs(figure.add_subplot(grid[:, 0]), _bars(report))
    upper, lower = (figure.add_subplot(grid[place, 1]) for place in range(2))
    _draw_ramp(upper, report, GAP)
    _draw_ramp(lower, report, CPU)


def _draw_costs(axes: Axes, rows: list[Row]) -> None:
    axes.set_title(f"{CPU}, in ms", loc="left", fontsize=9.5, color=canvas.INK, weight="bold")
    axes.set_xscale("log")
    axes.set_xticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
    # Room for the figures on the right.
    axes.set_xlim(min(row.low for row in rows) * 0.6, max(row.high for row in rows) * 6)
    axes.minorticks_off()
    canvas.plain(axes)
    axes.set_yticks(range(len(rows)), [f"{row.case}: {row.contender}" for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    for place, row in enumerate(rows):
        if place and rows[place - 1].case != row.case:
            axes.axhline(place - 0.5, color=canvas.GRID, linewidth=0.8)
        _draw_cost(axes, place, row)


def _draw_cost(axes: Axes, place: int, row: Row) -> None:
    ours = row.contender == Firsthop.name
    colour = canvas.GOOD if ours else canvas.NEUTRAL
    if row.unfit or row.holds is False:
        colour = canvas.MISSED
    axes.barh(place, row.value, height=0.6, color=colour)
    axes.plot([row.low, row.high], [place, place], color=colour, linewidth=6, alpha=0.35)
    right = max(row.value, row.high)
    if row.target is not None and row.ratio:
        bound = row.value / row.ratio * row.target.bound
        axes.plot([bound, bound], [place - 0.38, place + 0.38], color=canvas.INK, linewidth=1.6)
        right = max(right, bound)
    text = reports.figure(row.value)
    if row.ratio is not None and row.reference != row.contender:
        text += f"  ({row.ratio:.2f} of {row.reference})"
    canvas.label(axes, text, (right, place), size=8, bold=ours)


def _draw_ramp(axes: Axes, report: Report, metric: str) -> None:
    """Draw a metric over ever more sessions, a line per server."""
    title = f"{CALLED['packets']}: {metric}, in ms"
    axes.set_title(title, loc="left", fontsize=9.5, color=canvas.INK, weight="bold")
    lines: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for row in report.rows:
        if (row.case, row.metric) == (RAMP, metric) and math.isfinite(row.value):
            server, _, sessions = row.contender.partition(", ")
            lines[server].append((int(sessions.replace(",", "")), row.value))
    for server, points in lines.items():
        colour = canvas.GOOD if server == Firsthop.name else canvas.NEUTRAL
        across, up = zip(*points, strict=True)
        axes.plot(across, up, "o-", color=colour, markersize=4.5, linewidth=1.6)
        canvas.label(axes, server, points[-1], size=8.5, colour=colour, bold=True)
    canvas.plain(axes)
    axes.grid(axis="y", color=canvas.GRID, linewidth=0.8)
    highest = max((value for points in lines.values() for _, value in points), default=1.0)
    if metric == GAP:
        axes.axhline(LONGEST_GAP_MS, color=canvas.INK, linewidth=1.2, linestyle="--")
        highest = max(highest, LONGEST_GAP_MS)
    axes.set_ylim(0, highest * 1.15)
    # Room for the names on the right.
    most = max((sessions for points in lines.values() for sessions, _ in points), default=1)
    axes.set_xlim(0, most * 1.18)


CHART: Final = Chart(inches=_inches, draw=_fill, legend=f"{_LEGEND} · ")
"""Costs and gaps."""
