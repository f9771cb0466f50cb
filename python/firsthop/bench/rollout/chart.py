"""Draws the course of a rehearsal: calls per pod, packets lost and gaps, pods' lives, and steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from firsthop.bench import canvas
from firsthop.bench.canvas import Chart
from firsthop.bench.report import Report
from firsthop.bench.rollout.crowd import Batch
from firsthop.bench.rollout.pods import Pod
from firsthop.bench.rollout.rehearsal import TRANSCEIVER, Rehearsed
from firsthop.bench.rollout.run import RolloutReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH_INCHES: Final = 13.0
_INCHES_PER_POD: Final = 0.17
_INCHES_ABOVE: Final = 5.4
_STARTING, _READY, _DRAINING = "#aab1ba", canvas.GOOD, "#e09f3e"
_TICKS: Final = (0, 1, 10, 100, 1_000)
_CALLS: Final = ("#0b6e4f", "#3a86a8", "#7c9a5e", "#a8577e", "#c9a227", "#5b6bb0", "#4f8f8b")
_LEGEND: Final = (
    "pods: grey: starting · green: ready · amber: from its deletion to its end · cross: lost · "
)


def _found(report: Report) -> Rehearsed:
    assert isinstance(report, RolloutReport)
    return report.found


def _inches(report: Report) -> tuple[float, float] | None:
    pods = len(_found(report).pods)
    return (_WIDTH_INCHES, _INCHES_ABOVE + pods * _INCHES_PER_POD) if pods else None


def _fill(figure: Figure, report: Report) -> None:
    found = _found(report)
    start = min(pod.created for pod in found.pods)
    heights = [2.2, 1.2, max(len(found.pods) * _INCHES_PER_POD, 1.0)]
    calls, gaps, lives = figure.subplots(3, 1, sharex=True, gridspec_kw={"height_ratios": heights})
    for axes in (calls, gaps, lives):
        canvas.plain(axes)
        for step in found.steps:
            axes.axvspan(step.began - start, step.ended - start, color=canvas.GRID, zorder=0)
    for number, step in enumerate(found.steps):
        calls.annotate(
            step.name,
            (step.began - start, 1.0),
            xycoords=("data", "axes fraction"),
            # On two levels, for short steps have long names.
            xytext=(2, 3 + 10 * (number % 2)),
            textcoords="offset points",
            fontsize=8,
            color=canvas.INK,
        )
    _draw_calls(calls, found, start)
    _draw_gaps(gaps, found, start)
    _draw_lives(lives, found.pods, start)
    lives.set_xlabel("seconds", color=canvas.INK)


def _draw_calls(axes: Axes, found: Rehearsed, start: float) -> None:
    pods = [pod for pod in found.pods if pod.component == TRANSCEIVER]
    times = [sample.at - start for sample in found.samples]
    counts = [[sample.sessions.get(pod.name, 0) for sample in found.samples] for pod in pods]
    colours = [_CALLS[number % len(_CALLS)] for number in range(len(pods))]
    axes.stackplot(
        times, *counts, labels=[_short(pod) for pod in pods], colors=colours, step="post"
    )
    axes.set_ylim(bottom=0)
    axes.set_title("calls", loc="left", fontsize=9.5, color=canvas.INK, weight="bold", pad=26)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=7.5)


def _draw_gaps(axes: Axes, found: Rehearsed, start: float) -> None:
    for colour, names, name in (
        (canvas.NEUTRAL, ("longest_gap_ms",), "longest gap of the second, ms"),
        (canvas.MISSED, ("lost", "unreturned"), "packets lost in the second"),
    ):
        points = list(_points(found, names, start))
        if points:
            axes.plot(*zip(*points, strict=True), ".", color=colour, markersize=4, label=name)
    axes.set_yscale("symlog", linthresh=1)
    axes.set_yticks(_TICKS, [f"{tick:,}" for tick in _TICKS])
    axes.minorticks_off()
    axes.set_ylim(-0.3, _TICKS[-1])
    axes.set_title("gaps and loss", loc="left", fontsize=9.5, color=canvas.INK, weight="bold")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=7.5)


def _points(found: Rehearsed, names: Sequence[str], start: float) -> Iterator[tuple[float, float]]:
    """Yield the largest of what has these names, for each second of each batch."""
    batches: Sequence[Batch] = [*found.short, *found.long, *found.standing, *found.after]
    for batch in batches:
        for second in batch.course:
            yield batch.began - start + second["at_s"], max(second[name] for name in names)


def _draw_lives(axes: Axes, pods: Sequence[Pod], start: float) -> None:
    ordered = sorted(pods, key=lambda pod: (pod.component, pod.created))
    last = max(pod.ended or pod.created for pod in pods)
    for place, pod in enumerate(ordered):
        ended = pod.ended or last
        ready = pod.first_ready or ended
        leaving = min(pod.deleted or ended, ended)
        for began, until, colour in (
            (pod.created, ready, _STARTING),
            (ready, leaving, _READY),
            (leaving, ended, _DRAINING),
        ):
            axes.barh(place, until - began, left=began - start, height=0.7, color=colour)
        if pod.lost or pod.problems:
            axes.plot(ended - start, place, "x", color=canvas.MISSED, markersize=6)
    axes.set_yticks(range(len(ordered)), [_short(pod) for pod in ordered], fontsize=7.5)
    axes.set_ylim(len(ordered) - 0.4, -0.6)
    axes.set_title("pods", loc="left", fontsize=9.5, color=canvas.INK, weight="bold")


def _short(pod: Pod) -> str:
    return f"{pod.component} {pod.name.rpartition('-')[2]}, node {pod.node}"


CHART: Final = Chart(inches=_inches, draw=_fill, legend=_LEGEND)
"""The course of one rehearsal."""
