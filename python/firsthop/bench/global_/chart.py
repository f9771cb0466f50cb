"""Draws set-up by way above, and gaps by fault below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from firsthop.bench import canvas
from firsthop.bench.canvas import Chart
from firsthop.bench.global_.measures import SETUP
from firsthop.bench.recovery import chart as recovery
from firsthop.bench.recovery.run import DOWN_P50, DOWN_P99, UP_P50, UP_P99
from firsthop.bench.report import Report
from firsthop.bench.setup import chart as setup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INCHES: Final = (13.0, 6.4)
_LEGEND: Final = (
    "above: medians, ms from the POST · below: dot p50, bar to p99, tick: target for p99; ms of "
    "silence beyond the pacing · "
)


def _inches(report: Report) -> tuple[float, float] | None:
    return _INCHES if report.rows else None


def _fill(figure: Figure, report: Report) -> None:
    [above], [below] = figure.subfigures(2, 1, squeeze=False)
    bars = above.subplots()
    setup.draw(bars, SETUP, report)
    handles, labels = bars.get_legend_handles_labels()
    above.legend(
        handles, labels, loc="outside upper right", ncols=len(labels), frameon=False, fontsize=8
    )
    rows = [row for row in report.rows if row.metric == UP_P50]
    lines = [(row.case, row.contender) for row in rows]
    up, down = below.subplots(1, 2, sharey=True)
    recovery.draw(up, "gap, client to transceiver", report, lines, UP_P50, UP_P99)
    recovery.draw(down, "gap, transceiver to client", report, lines, DOWN_P50, DOWN_P99)
    up.set_yticks(range(len(lines)), [" ".join(line) for line in lines], color=canvas.INK)
    up.set_ylim(len(lines) - 0.4, -0.6)


CHART: Final = Chart(inches=_inches, draw=_fill, legend=_LEGEND)
"""All but media."""
