"""Draws a turn: a bar per contender, the medians of its stages one behind the other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from firsthop.bench import canvas
from firsthop.bench.report import Report
from firsthop.bench.voice.moments import STAGES
from firsthop.bench.voice.run import CASE, OWN, TOTAL, named

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS: Final = ("#c9ced6", "#9fb8d8", "#6f94c4", "#3f6ea8", canvas.GOOD)
_WIDTH_INCHES: Final = 11.0
_INCHES_PER_BAR: Final = 0.55
_LEGEND: Final = "medians of the stages, in ms; their sum is not the median of the whole"


def save(report: Report, folder: Path, *, title: str) -> list[Path]:
    """Write ``<bench>.png`` and ``<bench>.svg`` into `folder`, and return their paths.

    Raises:
        BenchError: matplotlib is not installed.
    """
    contenders = list(dict.fromkeys(row.contender for row in report.rows))
    if not contenders:
        return []
    about = [report.about[name] for name in ("machine", "date") if name in report.about]
    paths = [folder / f"{report.bench}.png", folder / f"{report.bench}.svg"]
    with canvas.figure(
        paths,
        title=title,
        legend=" · ".join([_LEGEND, *about]),
        inches=(_WIDTH_INCHES, len(contenders) * _INCHES_PER_BAR + 1.7),
        font_size=9,
    ) as figure:
        axes = figure.subplots()
        for place, contender in enumerate(contenders):
            _draw(axes, place, contender, report)
        axes.set_yticks(range(len(contenders)), contenders)
        axes.set_ylim(len(contenders) - 0.5, -0.5)
        # Room for the figures on the right.
        axes.set_xlim(0, axes.get_xlim()[1] * 1.3)
        axes.tick_params(length=0, labelcolor=canvas.INK)
        axes.grid(axis="x", color=canvas.GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        for side in axes.spines.values():
            side.set_visible(False)
        axes.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=len(STAGES), frameon=False, fontsize=8
        )
    return paths


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
    axes.annotate(
        text,
        (left, place),
        xytext=(7, 0),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
        color=canvas.INK,
        weight="bold" if contender.startswith("firsthop") else "normal",
    )
