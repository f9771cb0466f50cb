"""`firsthop bench setup`, for the command."""

from __future__ import annotations

from typing import Final

from firsthop.bench.benchmark import Benchmark
from firsthop.bench.setup import chart, run, show

BENCHMARK: Final = Benchmark(
    title="Until a call can be heard: connected · first audio · data channel",
    full=run.FULL,
    quick=run.QUICK,
    steps=run.steps,
    run=run.run,
    table=show.SHEET.table,
    markdown=show.SHEET.markdown,
    chart=chart.CHART,
)
