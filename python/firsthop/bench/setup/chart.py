"""Draws set-up: a panel per distance, and a bar of stages per server."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from firsthop.bench import canvas
from firsthop.bench.canvas import Chart
from firsthop.bench.report import Report
from firsthop.bench.setup.stages import ANSWER, AUDIO, CHANNEL, CONNECTED, ICE, STAGES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH_INCHES: Final = 12.0
_INCHES_PER_BAR: Final = 0.32
_INCHES_AROUND: Final = 0.75
_COLUMNS: Final = 2
_BARS: Final = ((ANSWER, "#c9ced6"), (ICE, "#9fb8d8"), (CONNECTED, "#3f6ea8"))
_MARKS: Final = ((AUDIO, "o", canvas.GOOD), (CHANNEL, "D", "#b8860b"))
_LEGEND: Final = "medians, ms from the POST; bars end where a stage is reached · "


def _panels(report: Report) -> list[str]:
    return list(dict.fromkeys(row.case for row in report.rows if row.metric in STAGES))


def _contenders(report: Report, case: str) -> list[str]:
    rows = (row for row in report.rows if row.case == case and row.metric in STAGES)
    return list(dict.fromkeys(row.contender for row in rows))


def _inches(report: Report) -> tuple[float, float] | None:
    panels = _panels(report)
    if not panels:
        return None
    height = (
        max(len(_contenders(report, case)) for case in panels) * _INCHES_PER_BAR + _INCHES_AROUND
    )
    return _WIDTH_INCHES, math.ceil(len(panels) / _COLUMNS) * height + 1.0


def _fill(figure: Figure, report: Report) -> None:
    panels = _panels(report)
    grid = figure.subplots(math.ceil(len(panels) / _COLUMNS), _COLUMNS, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, case in zip(grid.flat, panels, strict=False):
        draw(axes, case, report)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper right", ncols=len(labels), frameon=False, fontsize=8
    )


def draw(axes: Axes, case: str, report: Report) -> None:
    """Draw a case: a bar of stages for each contender."""
    contenders = _contenders(report, case)
    axes.set_title(case, loc="left", fontsize=9.5, color=canvas.INK, weight="bold", pad=5)
    for place, name in enumerate(contenders):
        _draw_server(axes, place, case, name, report)
    axes.set_yticks(range(len(contenders)), contenders)
    axes.set_ylim(len(contenders) - 0.5, -0.5)
    # Room for the figures on the right.
    axes.set_xlim(0, axes.get_xlim()[1] * 1.25)
    canvas.plain(axes)


def _draw_server(axes: Axes, place: int, case: str, name: str, report: Report) -> None:
    reached = {
        stage: row.value for stage in STAGES if (row := report.row(case, name, stage)) is not None
    }
    if ANSWER not in reached:
        return
    first = place == 0
    left = 0.0
    for stage, colour in _BARS:
        # All but the answer are counted from the answer.
        right = reached[stage] + (0 if stage == ANSWER else reached[ANSWER])
        label = stage if first else None
        axes.barh(place, right - left, left=left, height=0.55, color=colour, label=label)
        left = right
    ends = [left]
    for stage, shape, colour in _MARKS:
        at = reached[ANSWER] + reached[stage]
        axes.plot([left, at], [place, place], color=canvas.NEUTRAL, linewidth=1, zorder=1)
        label = stage if first else None
        axes.plot(at, place, shape, color=colour, markersize=6, label=label, linestyle="")
        ends.append(at)
    text = " · ".join(f"{reached[ANSWER] + reached[s]:,.0f}" for s in (CONNECTED, AUDIO, CHANNEL))
    canvas.label(axes, text, (max(ends), place), size=8, bold=name.startswith("firsthop"))


CHART: Final = Chart(inches=_inches, draw=_fill, legend=_LEGEND)
"""A timeline for every server at every distance."""
