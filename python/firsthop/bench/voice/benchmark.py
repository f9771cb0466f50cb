"""`firsthop bench turn`, for the command."""

from __future__ import annotations

from typing import Final

from firsthop.bench.benchmark import Benchmark
from firsthop.bench.voice import chart, run, show

BENCHMARK: Final = Benchmark(
    title="How long an answer takes",
    full=run.FULL,
    quick=run.QUICK,
    steps=run.steps,
    run=run.run,
    table=show.SHEET.table,
    markdown=show.SHEET.markdown,
    chart=chart.CHART,
    must_hold=True,
)
