"""Draws the simulation: shares of calls that are still silent, and how full all is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from firsthop.bench import canvas
from firsthop.bench.canvas import Chart
from firsthop.bench.fleet.choice import Choice
from firsthop.bench.fleet.crowd import BEGINS, LASTS, SECONDS, Crowd
from firsthop.bench.fleet.draws import Floats
from firsthop.bench.fleet.edge import EdgeLoss
from firsthop.bench.fleet.rehash import Rehash
from firsthop.bench.fleet.run import FleetReport
from firsthop.bench.report import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INCHES: Final = (13.0, 11.0)
_TICKS_MS: Final = (1, 10, 100, 1000, 10_000)
#: Points of a curve.
_POINTS: Final = 400
_COLOURS: Final = ("#0b6e4f", "#3a86c8", "#e08e0b", "#7b4fa3", "#c1121f", "#8a9099")
_CROWD: Final = "#f6e7d8"

Curve = tuple[str, Floats]
"""What is silent, and for how long each time, in ms."""


def _inches(report: Report) -> tuple[float, float] | None:
    return _INCHES if isinstance(report, FleetReport) and report.edge is not None else None


def _fill(figure: Figure, report: Report) -> None:
    assert isinstance(report, FleetReport) and report.edge is not None
    axes = figure.subplots(3, 2)
    _silences(axes[0][0], "A relay of each site is lost: calls that moved", _moved(report.rehashes))
    _silences(axes[0][1], f"All relays of {report.edge.lost} are lost", _lost(report.edge))
    _neighbours(axes[1][0], report.edge)
    _choice(axes[1][1], report.choices)
    for place, crowd in zip(axes[2], report.crowds, strict=True):
        _crowd(place, crowd)


def _moved(rehashes: Sequence[Rehash]) -> list[Curve]:
    lost = {rehash.router: rehash for rehash in rehashes if rehash.change == "lost"}
    resilient, remainder = lost["resilient"], lost["remainder"]
    return [
        (f"flow cache, resilient hashing: {resilient.moved:.0%} move", resilient.asked.gaps_ms),
        (f"flow cache, remainder: {remainder.moved:.0%} move", remainder.asked.gaps_ms),
        ("no cache, checks each 2.5 s", resilient.chromium_ms),
        ("no cache, checks each 5 s", resilient.slow_ms),
    ]


def _lost(edge: EdgeLoss) -> list[Curve]:
    return [
        ("second candidate: agent's sound", edge.down_ms),
        ("second candidate: caller's, 2.5 s", edge.up_ms[~edge.slow]),
        ("second candidate: caller's, 5 s", edge.up_ms[edge.slow]),
        ("no other candidate: calls again", edge.again_ms),
    ]


def _silences(axes: Axes, heading: str, curves: Sequence[Curve]) -> None:
    """Draw the share of calls that are still silent after so long."""
    _head(axes, f"{heading}, still silent after", "both")
    axes.set_xscale("log")
    axes.set_xlim(1, _TICKS_MS[-1] * 1.3)
    axes.set_xticks(
        _TICKS_MS, [f"{tick / 1000:g} s" if tick >= 1000 else f"{tick} ms" for tick in _TICKS_MS]
    )
    axes.minorticks_off()
    axes.tick_params(axis="x", pad=6)
    _percent(axes)
    for (name, gaps), colour in zip(curves, _COLOURS, strict=False):
        shares = np.linspace(0, 100, _POINTS)
        moments = np.percentile(gaps, shares)
        axes.plot(
            np.concatenate(([1], moments)),
            np.concatenate(([100], 100 - shares)),
            color=colour,
            linewidth=2,
            label=name,
        )
    axes.legend(frameon=False, fontsize=7.5, loc="lower left")


def _neighbours(axes: Axes, edge: EdgeLoss) -> None:
    """Draw how full each ingress is, before and after."""
    _head(axes, f"Sessions at each ingress, of what it was planned for: {edge.lost} is lost", "x")
    names = list(edge.before)
    for place, name in enumerate(names):
        before, after = edge.before[name] * 100, edge.after[name] * 100
        colour = canvas.MISSED if name == edge.lost else canvas.GOOD
        axes.barh(place, min(before, after), color=canvas.NEUTRAL, height=0.6, alpha=0.55)
        if after != before:
            left, width = min(before, after), abs(after - before)
            alpha = 0.25 if after < before else 0.9
            axes.barh(place, width, left=left, color=colour, height=0.6, alpha=alpha)
        text = f"{after:.0f} %" if after == before else f"{before:.0f} → {after:.0f} %"
        canvas.label(axes, text, (max(before, after), place), size=7.5, bold=after != before)
    axes.axvline(100, color=canvas.INK, linewidth=1)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 125)
    axes.set_xticks((0, 25, 50, 75, 100), ["0", "25 %", "50 %", "75 %", "100 %"])


def _choice(axes: Axes, choices: Sequence[Choice]) -> None:
    """Draw what share of flows moves, beside 1/n, and how much busier than the mean one is."""
    _head(axes, "A cluster's relay is lost: flows that edges move, and the busiest relay", "y")
    for place, of in enumerate(choices):
        axes.bar(place - 0.2, of.moved * 100, width=0.36, color=canvas.GOOD)
        axes.bar(place + 0.2, (of.most_after - 1) * 100, width=0.36, color=_COLOURS[2])
        one = 100 / of.relays
        axes.plot([place - 0.42, place + 0.02], [one, one], color=canvas.INK, linewidth=1.6)
        _above(axes, f"{of.moved:.1%}", place - 0.2, max(of.moved * 100, one))
        _above(axes, f"+{of.most_after - 1:.0%}", place + 0.2, (of.most_after - 1) * 100)
    axes.set_xticks(range(len(choices)), [f"of {of.relays}" for of in choices])
    axes.set_ylim(0, 62)
    axes.set_yticks((0, 20, 40, 60), ["0", "20 %", "40 %", "60 %"])
    handles = [
        axes.bar(0, 0, color=canvas.GOOD, label="flows that move; line: 1/n"),
        axes.bar(0, 0, color=_COLOURS[2], label="busiest of those left, above the mean"),
    ]
    axes.legend(handles=handles, frameon=False, fontsize=7.5, loc="upper right")


def _above(axes: Axes, text: str, x: float, y: float) -> None:
    axes.annotate(
        text,
        (x, y),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        fontsize=7.5,
        color=canvas.INK,
    )


def _crowd(axes: Axes, crowd: Crowd) -> None:
    """Draw how full clusters are, and what share of offers is refused or served elsewhere."""
    _head(axes, f"Ten times the offers for a minute, {crowd.where}", "both")
    seconds = np.arange(SECONDS) - BEGINS
    axes.axvspan(0, LASTS, color=_CROWD, linewidth=0, zorder=0)
    for name, filled, colour in zip(crowd.clusters, crowd.filled, _COLOURS, strict=False):
        axes.plot(
            seconds, filled * 100, color=colour, linewidth=2, label=f"{name}, of its capacity"
        )
    for name, of, style in (
        ("refused, of offers", crowd.refused, "-"),
        ("not by the nearest, of offers", crowd.elsewhere, ":"),
    ):
        share = np.divide(of, crowd.offers, out=np.zeros_like(of), where=crowd.offers > 0) * 100
        axes.plot(seconds, share, style, color=canvas.INK, linewidth=1.4, label=name)
    axes.set_xlim(-BEGINS, SECONDS - BEGINS)
    ticks = range(-BEGINS, SECONDS - BEGINS + 1, 30)
    axes.set_xticks(ticks, [f"{tick} s" for tick in ticks])
    axes.tick_params(axis="x", pad=6)
    _percent(axes)
    axes.legend(frameon=False, fontsize=7.5, loc="lower right")


def _head(axes: Axes, heading: str, grid: str) -> None:
    axes.set_title(heading, loc="left", fontsize=9.5, color=canvas.INK, weight="bold")
    canvas.plain(axes)
    axes.grid(False)
    axes.grid(axis=grid, color=canvas.GRID, linewidth=0.8)  # type: ignore[arg-type]


def _percent(axes: Axes) -> None:
    axes.set_ylim(0, 104)
    axes.set_yticks((0, 25, 50, 75, 100), ["0", "25 %", "50 %", "75 %", "100 %"])


CHART: Final = Chart(
    inches=_inches,
    draw=_fill,
    legend="simulated · ",
    about=("fleet", "date"),
    font_size=8.5,
)
"""Six panels: silences above, loads below."""
