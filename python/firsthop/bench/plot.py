"""Draws a report: one panel per case, ratios to its reference on a logarithmic axis."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from firsthop.bench import canvas
from firsthop.bench import report as reports
from firsthop.bench.report import Report, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
_INCHES_PER_ROW = 0.30
_INCHES_AROUND = 0.62
_COLUMNS = 2
_WIDTH_INCHES = 12.0
_LEGEND = "dot: median · pale bar: smallest to largest round · black mark: target · red: missed"


def save(report: Report, folder: Path, *, title: str) -> list[Path]:
    """Write ``<bench>.png`` and ``<bench>.svg`` into `folder`, and return their paths.

    Rows without a ratio are left to the table.

    Raises:
        BenchError: matplotlib is not installed.
    """
    panels = _panels(report)
    if not panels:
        return []
    lines = [panels[start : start + _COLUMNS] for start in range(0, len(panels), _COLUMNS)]
    heights = [
        max(len(rows) for _, rows in line) * _INCHES_PER_ROW + _INCHES_AROUND for line in lines
    ]
    about = " · ".join(
        report.about[name] for name in ("machine", "kernel", "date") if name in report.about
    )
    paths = [folder / f"{report.bench}.png", folder / f"{report.bench}.svg"]
    with canvas.figure(
        paths,
        title=title,
        legend=f"{_LEGEND}\n{about}",
        inches=(_WIDTH_INCHES, sum(heights) + 0.7),
        font_size=9,
    ) as figure:
        all_axes = figure.subplots(
            len(lines), _COLUMNS, squeeze=False, gridspec_kw={"height_ratios": heights}
        )
        limits = _limits([row for _, rows in panels for row in rows])
        for axes in all_axes.flat:
            axes.set_axis_off()
        most = [max(len(rows) for _, rows in line) for line in lines for _ in range(_COLUMNS)]
        for axes, room, (heading, rows) in zip(all_axes.flat, most, panels, strict=False):
            axes.set_axis_on()
            _draw(axes, heading, rows, limits, room)
    return paths


def _panels(report: Report) -> list[tuple[str, list[Row]]]:
    """Group the rows that have a ratio, best first."""
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
    axes.tick_params(length=0, labelbottom=True, labelcolor=canvas.INK, labelsize=8)
    axes.set_yticks(range(len(rows)), [row.contender for row in rows])
    axes.set_ylim(room - 0.4, -0.6)
    axes.grid(axis="x", color=canvas.GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
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
    axes.annotate(
        text,
        (right, place),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        fontsize=8,
        color=canvas.INK if ours else "#555b63",
        weight="bold" if ours else "normal",
    )
