"""Draws gaps: a panel per direction, a line per fault and kind of call, milliseconds across."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from firsthop.bench.errors import BenchError
from firsthop.bench.recovery.run import DOWN_P50, DOWN_P99, UP_P50, UP_P99
from firsthop.bench.recovery.show import shown
from firsthop.bench.report import Report, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FINE = "#0b6e4f"
_MISSED = "#c1121f"
_UNBOUND = "#8a9099"
_INK = "#22262b"
_GRID = "#e3e6ea"
_TICKS = (1, 10, 100, 1000)
#: Linear below: a gap may be 0.
_LINEAR_TO_MS = 1.0
_LONGEST_MS = 20_000.0
_INCHES_PER_LINE = 0.24
_WIDTH_INCHES = 13.0
_DPI = 160


def save(report: Report, folder: Path, *, title: str) -> list[Path]:
    """Write ``<bench>.png`` and ``<bench>.svg`` into `folder`, and return their paths.

    Raises:
        BenchError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError:
        raise BenchError(
            "no plot without matplotlib: `pip install 'firsthop[bench]'`, or `make bench`"
        ) from None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = list(dict.fromkeys((row.case, row.contender) for row in report.rows))
    if not lines:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"font.size": 8.5, "svg.fonttype": "none", "svg.hashsalt": "bench"}):
        height = len(lines) * _INCHES_PER_LINE + 1.4
        canvas = Figure(figsize=(_WIDTH_INCHES, height), layout="constrained")
        FigureCanvasAgg(canvas)
        canvas.suptitle(title, x=0.01, ha="left", fontsize=12, color=_INK, weight="bold")
        up, down = canvas.subplots(1, 2, sharey=True)
        _draw(up, "client to transceiver", report, lines, UP_P50, UP_P99)
        _draw(down, "transceiver to client", report, lines, DOWN_P50, DOWN_P99)
        up.set_yticks(range(len(lines)), [f"{case} · {contender}" for case, contender in lines])
        up.set_ylim(len(lines) - 0.4, -0.6)
        about = [report.about[name] for name in ("machine", "date") if name in report.about]
        legend = "dot: p50; bar: to p99; tick: target for p99; ms of silence beyond the pacing"
        canvas.supxlabel(
            " · ".join([legend, *about]), x=0.01, ha="left", fontsize=7.5, color=_UNBOUND
        )
        paths = [folder / f"{report.bench}.png", folder / f"{report.bench}.svg"]
        for path in paths:
            canvas.savefig(path, dpi=_DPI, facecolor="white")
    return paths


def _draw(
    axes: Axes,
    heading: str,
    report: Report,
    lines: Sequence[tuple[str, str]],
    p50: str,
    p99: str,
) -> None:
    axes.set_title(heading, loc="left", fontsize=9.5, color=_INK, weight="bold")
    axes.set_xscale("symlog", linthresh=_LINEAR_TO_MS)
    axes.set_xlim(0, _LONGEST_MS)
    axes.set_xticks([0, *_TICKS], ["0", *(f"{tick:,} ms" for tick in _TICKS)])
    axes.minorticks_off()
    axes.tick_params(length=0, labelcolor=_INK)
    axes.grid(axis="x", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
    last = ""
    for place, (case, contender) in enumerate(lines):
        if case != last and place:
            axes.axhline(place - 0.5, color=_GRID, linewidth=0.8)
        last = case
        middle, high = report.row(case, contender, p50), report.row(case, contender, p99)
        if middle is not None and high is not None:
            _draw_line(axes, place, middle, high)


def _draw_line(axes: Axes, place: int, middle: Row, high: Row) -> None:
    colour = {True: _FINE, False: _MISSED, None: _UNBOUND}[high.holds]
    axes.plot([middle.value, high.value], [place, place], color=colour, linewidth=4, alpha=0.35)
    axes.plot(middle.value, place, "o", color=colour, markersize=5, clip_on=False)
    right = high.value
    if high.target is not None:
        bound = high.target.bound
        axes.plot([bound, bound], [place - 0.36, place + 0.36], color=_INK, linewidth=1.4)
        right = max(right, bound)
    axes.annotate(
        f"{shown(middle)} / {shown(high)}",
        (right, place),
        xytext=(7, 0),
        textcoords="offset points",
        va="center",
        fontsize=7.5,
        color=_INK,
    )
