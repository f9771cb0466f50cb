"""Draws gaps: a panel per direction, a line per fault and kind of call, milliseconds across."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from firsthop.bench import canvas
from firsthop.bench.canvas import Chart
from firsthop.bench.recovery.run import DOWN_P50, DOWN_P99, UP_P50, UP_P99
from firsthop.bench.recovery.show import shown
from firsthop.bench.report import Report, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TICKS = (1, 10, 100, 1000)
#: Linear below: a gap may be 0.
_LINEAR_TO_MS = 1.0
_LONGEST_MS = 20_000.0
_INCHES_PER_LINE = 0.24
_WIDTH_INCHES = 13.0
_LEGEND = "dot: p50; bar: to p99; tick: target for p99; ms of silence beyond the pacing"


def _lines(report: Report) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row.case, row.contender) for row in report.rows))


def _inches(report: Report) -> tuple[float, float] | None:
    lines = _lines(report)
    return (_WIDTH_INCHES, len(lines) * _INCHES_PER_LINE + 1.4) if lines else None


def _fill(figure: Figure, report: Report) -> None:
    lines = _lines(report)
    up, down = figure.subplots(1, 2, sharey=True)
    draw(up, "client to transceiver", report, lines, UP_P50, UP_P99)
    draw(down, "transceiver to client", report, lines, DOWN_P50, DOWN_P99)
    up.set_yticks(range(len(lines)), [f"{case} · {contender}" for case, contender in lines])
    up.set_ylim(len(lines) - 0.4, -0.6)


def draw(
    axes: Axes,
    heading: str,
    report: Report,
    lines: Sequence[tuple[str, str]],
    p50: str,
    p99: str,
) -> None:
    """Draw gaps of one direction: a line for each case and contender of `lines`."""
    axes.set_title(heading, loc="left", fontsize=9.5, color=canvas.INK, weight="bold")
    axes.set_xscale("symlog", linthresh=_LINEAR_TO_MS)
    axes.set_xlim(0, _LONGEST_MS)
    axes.set_xticks([0, *_TICKS], ["0", *(f"{tick:,} ms" for tick in _TICKS)])
    axes.minorticks_off()
    canvas.plain(axes)
    last = ""
    for place, (case, contender) in enumerate(lines):
        if case != last and place:
            axes.axhline(place - 0.5, color=canvas.GRID, linewidth=0.8)
        last = case
        middle, high = report.row(case, contender, p50), report.row(case, contender, p99)
        if middle is not None and high is not None:
            _draw_line(axes, place, middle, high)


def _draw_line(axes: Axes, place: int, middle: Row, high: Row) -> None:
    colour = {True: canvas.GOOD, False: canvas.MISSED, None: canvas.NEUTRAL}[high.holds]
    axes.plot([middle.value, high.value], [place, place], color=colour, linewidth=4, alpha=0.35)
    axes.plot(middle.value, place, "o", color=colour, markersize=5, clip_on=False)
    right = high.value
    if high.target is not None:
        bound = high.target.bound
        axes.plot([bound, bound], [place - 0.36, place + 0.36], color=canvas.INK, linewidth=1.4)
        right = max(right, bound)
    canvas.label(axes, f"{shown(middle)} / {shown(high)}", (right, place), size=7.5)


CHART: Final = Chart(inches=_inches, draw=_fill, legend=f"{_LEGEND} · ", font_size=8.5)
"""A line for every fault and kind of call."""
