"""Draws quality: MOS over loss, a panel per jitter; below, the delay that listeners add."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firsthop.bench import canvas
from firsthop.bench.canvas import Chart
from firsthop.bench.quality.cases import JITTERS_MS, LOSSES, Case
from firsthop.bench.quality.chromium import CHROMIUM
from firsthop.bench.quality.listeners import AIORTC, FIRSTHOP
from firsthop.bench.quality.run import DELAY, DELAY_P95, MOS
from firsthop.bench.report import Report, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS: Final = {FIRSTHOP: canvas.GOOD, AIORTC: canvas.NEUTRAL, CHROMIUM: "#3f6ea8"}
_WIDTH_INCHES: Final = 12.0
_CURVES_INCHES: Final = 3.0
_INCHES_PER_CASE: Final = 0.42
_LEGEND: Final = (
    "MOS: mean over clips, with the lowest and the highest · delay: median, line to p95; beyond "
    "the mean delay of the path · "
)


def _cases(report: Report) -> list[str]:
    return list(dict.fromkeys(row.case for row in report.rows if row.metric == DELAY))


def _inches(report: Report) -> tuple[float, float] | None:
    cases = _cases(report)
    if not cases:
        return None
    return _WIDTH_INCHES, _CURVES_INCHES + len(cases) * _INCHES_PER_CASE + 1.2


def _fill(figure: Figure, report: Report) -> None:
    cases = _cases(report)
    grid = figure.add_gridspec(
        2, len(JITTERS_MS), height_ratios=[_CURVES_INCHES, len(cases) * _INCHES_PER_CASE + 0.6]
    )
    first: Axes | None = None
    for place, jitter_ms in enumerate(JITTERS_MS):
        axes = figure.add_subplot(grid[0, place], sharey=first)
        _curves(axes, report, jitter_ms)
        first = first or axes
    if first is not None:
        first.set_ylabel("MOS", color=canvas.INK)
        first.legend(loc="upper right", frameon=False, fontsize=8)
    _bars(figure.add_subplot(grid[1, :]), report, cases)


def _curves(axes: Axes, report: Report, jitter_ms: float) -> None:
    axes.set_title(f"{jitter_ms:g} ms jitter", loc="left", fontsize=9.5, color=canvas.INK)
    for listener, colour in _COLOURS.items():
        rows = [
            (loss, row)
            for loss in LOSSES
            if (row := report.row(Case(loss=loss, jitter_ms=jitter_ms).name, listener, MOS))
        ]
        if not rows:
            continue
        losses = [100 * loss for loss, _ in rows]
        axes.fill_between(
            losses,
            [row.low for _, row in rows],
            [row.high for _, row in rows],
            color=colour,
            alpha=0.12,
            linewidth=0,
        )
        axes.plot(
            losses, [row.value for _, row in rows], "o-", color=colour, label=listener, markersize=4
        )
    axes.set_xticks([100 * loss for loss in LOSSES], [f"{100 * loss:g} %" for loss in LOSSES])
    axes.set_ylim(1, 4.7)
    axes.set_xlabel("lost", loc="left", fontsize=8.5, color=canvas.INK)
    canvas.plain(axes)
    axes.grid(axis="y", color=canvas.GRID, linewidth=0.8)


def _bars(axes: Axes, report: Report, cases: list[str]) -> None:
    height = 0.8 / len(_COLOURS)
    for place, case in enumerate(cases):
        for nth, (listener, colour) in enumerate(_COLOURS.items()):
            usual, high = (report.row(case, listener, metric) for metric in (DELAY, DELAY_P95))
            if usual is not None and high is not None:
                _bar(axes, place + (nth - 1) * height, height, usual, high, colour)
    axes.set_yticks(range(len(cases)), cases)
    axes.set_ylim(len(cases) - 0.45, -0.55)
    axes.set_title("added delay, ms", loc="left", fontsize=9.5, color=canvas.INK)
    canvas.plain(axes)


def _bar(axes: Axes, place: float, height: float, usual: Row, high: Row, colour: str) -> None:
    axes.barh(place, usual.value, height=height * 0.85, color=colour)
    axes.plot([usual.value, high.value], [place, place], color=colour, linewidth=1)
    canvas.label(axes, f"{round(usual.value):,}", (high.value, place), size=6.5, gap=3)


CHART: Final = Chart(inches=_inches, draw=_fill, legend=_LEGEND)
"""Curves and bars."""
