"""Draws gaps: a panel per direction, a line per fault and kind of call, milliseconds across."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from firsthop.bench import canvas
from firsthop.bench.recovery.run import DOWN_P50, DOWN_P99, UP_P50, UP_P99
from firsthop.bench.recovery.show import shown
from firsthop.bench.report import Report, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TICKS = (1, 10, 100, 1000)
#: Linear below: a gap may be 0.
_LINEAR_TO_MS = 1.0
_LONGEST_MS = 20_000.0
_INCHES_PER_LINE = 0.24
_WIDTH_INCHES = 13.0
_LEGEND = "dot: p50; bar: to p99; tick: target for p99; ms of silence beyond the pacing"


def save(report: Report, folder: Path, *, title: str) -> list[Path]:
    """Write ``<bench>.png`` and ``<bench>.svg`` into `folder`, and return their paths.

    Raises:
        BenchError: matplotlib is not installed.
    """
    lines = list(dict.fromkeys((row.case, row.contender) for row in report.rows))
    if not lines:
        return []
    about = [report.about[name] for name in ("machine", "date") if name in report.about]
    paths = [folder / f"{report.bench}.png", folder / f"{report.bench}.svg"]
    with canvas.figure(
        paths,
        title=title,
        legend=" · ".join([_LEGEND, *about]),
        inches=(_WIDTH_INCHES, len(lines) * _INCHES_PER_LINE + 1.4),
        font_size=8.5,
    ) as figure:
        up, down = figure.subplots(1, 2, sharey=True)
        _draw(up, "client to transceiver", report, lines, UP_P50, UP_P99)
        _draw(down, "transceiver to client", report, lines, DOWN_P50, DOWN_P99)
        up.set_yticks(range(len(lines)), [f"{case} · {contender}" for case, contender in lines])
        up.set_ylim(len(lines) - 0.4, -0.6)
    return paths


def _draw(
    axes: Axes,
    heading: str,
    report: Report,
    lines: Sequence[tuple[str, str]],
    p50: str,
    p99: str,
) -> None:
    axes.set_title(heading, loc="left", fontsize=9.5, color=canvas.INK, weight="bold")
    axes.set_xscale("symlog", linthresh=_LINEAR_TO_MS)
    axes.set_xlim(0, _LONGEST_MS)
    axes.set_xticks([0, *_TICKS], ["0", *(f"{tick:,} ms" for tick in _TICKS)])
    axes.minorticks_off()
    axes.tick_params(length=0, labelcolor=canvas.INK)
    axes.grid(axis="x", color=canvas.GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
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
    axes.annotate(
        f"{shown(middle)} / {shown(high)}",
        (right, place),
        xytext=(7, 0),
        textcoords="offset points",
        va="center",
        fontsize=7.5,
        color=canvas.INK,
    )
