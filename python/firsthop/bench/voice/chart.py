"""Draws a turn: a bar per contender, the medians of its stages one behind the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firsthop.bench import canvas
from firsthop.bench.canvas import Chart
from firsthop.bench.report import Report
from firsthop.bench.voice.moments import STAGES
from firsthop.bench.voice.run import CASE, OWN, TOTAL, named

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS: Final = ("#c9ced6", "#9fb8d8", "#6f94c4", "#3f6ea8", canvas.GOOD)
_WIDTH_INCHES: Final = 11.0
_INCHES_PER_BAR: Final = 0.55
_LEGEND: Final = "medians of the stages, in ms; their sum is not the median of the whole"


def _contenders(report: Report) -> list[str]:
    return list(dict.fromkeys(row.contender for row in report.rows))


def _inches(report: Report) -> tuple[float, float] | None:
    contenders = _contenders(report)
    return (_WIDTH_INCHES, len(contenders) * _INCHES_PER_BAR + 1.7) if contenders else None


def _fill(figure: Figure, report: Report) -> None:
    contenders = _contenders(report)
    axes = figure.subplots()
    for place, contender in enumerate(contenders):
        _draw(axes, place, contender, report)
    axes.set_yticks(range(len(contenders)), contenders)
    axes.set_ylim(len(contenders) - 0.5, -0.5)
    # Room for the figures on the right.
    axes.set_xlim(0, axes.get_xlim()[1] * 1.3)
    canvas.plain(axes)
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=len(STAGES), frameon=False, fontsize=8
    )


def _draw(axes: Axes, place: int, contender: str, report: Report) -> None:
    left = 0.0
    for stage, colour in zip(STAGES, _COLOURS, strict=True):
        row = report.row(CASE, contender, named(stage, "median"))
        if row is None:
            continue
        label = stage if place == 0 else None
        axes.barh(place, row.value, left=left, height=0.6, color=colour, label=label)
        left += row.value
    total = report.row(CASE, contender, named(TOTAL, "median"))
    own = report.row(CASE, contender, named(OWN, "median"))
    text = "" if total is None else f"{total.value:,.0f} ms"
    if own is not None:
        text += f", of it {own.value:,.0f} its own"
    ours = contender.startswith("firsthop")
    canvas.label(axes, text, (left, place), size=8.5, bold=ours)


CHART: Final = Chart(inches=_inches, draw=_fill, legend=f"{_LEGEND} · ")
"""A bar for every contender."""
