"""What every benchmark has: two scales, a run that gives a report, and the ways to show it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from rich.console import RenderableType

from firsthop.bench import plot, report
from firsthop.bench.canvas import Chart
from firsthop.bench.report import Report

Scale = TypeVar("Scale")
"""How much is measured: a class of the benchmark's own."""
Progress = Callable[[str], None]
"""Called after each step with what comes now, for whoever waits."""


@dataclass(frozen=True, kw_only=True)
class Benchmark(Generic[Scale]):
    """One benchmark, for `firsthop.bench.command` to run and show.

    What has no way of its own to be shown is a table of `report` and panels of `plot`.
    """

    title: str
    """Above its plot."""
    full: Scale
    quick: Scale
    steps: Callable[[Scale], int]
    """How many times a run reports progress."""
    run: Callable[[Scale, Path, Progress], Report]
    """Measures everything, with a folder for files that nobody needs afterwards.

    It raises `BenchError` when something that it needs is missing, or does not come up.
    """
    table: Callable[[Report], RenderableType] = report.table
    markdown: Callable[[Report], str] = report.markdown
    chart: Chart = plot.CHART
    must_hold: bool = False
    """Whether a missed target is told by the exit code as well."""
