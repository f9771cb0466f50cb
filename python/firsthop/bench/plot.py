"""Draws a report: one panel per case, ratios to its reference on a logarithmic axis."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Final

from firsthop.bench import canvas
from firsthop.bench import report as reports
from firsthop.bench.canvas import Chart
from firsthop.bench.report import Report, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
_INCHES_PER_ROW = 0.30
_INCHES_AROUND = 0.62
_COLUMNS = 2
_WIDTH_INCHES = 12.0
_LEGEND = "dot: median · pale bar: smallest to largest round · black mark: target · red: missed"

Panel = tuple[str, list[Row]]
"""A heading, and the rows below it."""


def _inches(report: Report) -> tuple[float, float] | None:
    panels = _panels(report)
    return (_WIDTH_INCHES, sum(_heights(_lines(panels))) + 0.7) if panels else None


def _fill(figure: Figure, report: Report) -> None:
    panels = _panels(report)
    lines = _lines(panels)
    all_axes = figure.subplots(
        len(lines), _COLUMNS, squeeze=False, gridspec_kw={"height_ratios": _heights(lines)}
    )
    limits = _limits([row for _, rows in panels for row in rows])
    for axes in all_axes.flat:
        axes.set_axis_off()
    most = [max(len(rows) for _, rows in line) for line in lines for _ in range(_COLUMNS)]
    for axes, room, (heading, rows) in zip(all_axes.flat, most, panels, strict=False):
        axes.set_axis_on()
        _draw(axes, heading, rows, limits, room)


def _lines(panels: Sequence[Panel]) -> list[Sequence[Panel]]:
    return [panels[start : start + _COLUMNS] for start in range(0, len(panels), _COLUMNS)]


def _heights(lines: Sequence[Sequence[Panel]]) -> list[float]:
    most = [max(len(rows) for _, rows in line) for line in lines]
    return [rows * _INCHES_PER_ROW + _INCHES_AROUND for rows in most]


def _panels(report: Report) -> list[Panel]:
    """Group the rows that have a ratio, best first. Others are left to the table."""
    drawn = [row for row in report.rows if row.ratio is not None]
    return [
        (f"{case}: {metric}", sorted(rows, key=lambda row: row.ratio or 0))
        for (case, metric), rows in groupby(drawn, key=lambda row: (row.case, row.metric))
    ]


def _limits(rows: Sequence[Row]) -> tuple[float, float]:
    shown = [row.ratio for row in rows if row.ratio]
    shown += [row.target.bound for row in rows if row.target and row.target.of == "ratio"]
    # Room for the figures on the right.
    return min(0.5, *shown) * 0.8, max(2.0, *shown) * 4


def _draw(
    axes: Axes, heading: str, rows: Sequence[Row], limits: tuple[float, float], room: int
) -> None:
    """Draw one panel, as high as one with `room` rows, so that rows are alike in all panels."""
    axes.set_title(heading, loc="left", fontsize=9.5, color=canvas.INK, weight="bold", pad=5)
    axes.set_xscale("log")
    axes.set_xlim(*limits)
    ticks = [tick for tick in _TICKS if limits[0] <= tick <= limits[1]]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.tick_params(labelbottom=True, labelsize=8)
    axes.set_yticks(range(len(rows)), [row.contender for row in rows])
    axes.set_ylim(room - 0.4, -0.6)
    canvas.plain(axes)
    axes.axvline(1, color=canvas.INK, linewidth=1)
    for place, row in enumerate(rows):
        _draw_row(axes, place, row)


def _draw_row(axes: Axes, place: int, row: Row) -> None:
    assert row.ratio is not None
    ours = row.contender.startswith("firsthop")
    colour = canvas.GOOD if ours or row.holds else canvas.NEUTRAL
    if row.holds is False:
        colour = canvas.MISSED
    axes.plot([1, row.ratio], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
    scale = row.ratio / row.value if row.value else 0
    if row.low > 0 and scale:
        low, high = row.low * scale, row.high * scale
        axes.plot([low, high], [place, place], color=colour, linewidth=6, alpha=0.25)
    axes.plot(row.ratio, place, "o", color=colour, markersize=6)
    if row.target is not None and row.target.of == "ratio":
        bound = row.target.bound
        axes.plot([bound, bound], [place - 0.38, place + 0.38], color=canvas.INK, linewidth=1.6)
    text = f"{row.ratio:.2f}  {reports.figure(row.value)} {row.unit}"
    if row.target is not None:
        text += f"  (target {row.target})"
    right = max(row.ratio, row.high * scale, 1.0)
    if row.target is not None and row.target.of == "ratio":
        right = max(right, row.target.bound)
    grey = canvas.INK if ours else "#555b63"
    canvas.label(axes, text, (right, place), size=8, gap=8, colour=grey, bold=ours)


CHART: Final = Chart(
    inches=_inches,
    draw=_fill,
    legend=f"{_LEGEND}\n",
    about=("machine", "kernel", "date"),
)
"""Of rows with a ratio: the way of a benchmark that has none of its own."""
