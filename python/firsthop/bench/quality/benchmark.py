"""`firsthop bench quality`, for the command."""

from __future__ import annotations

from typing import Final

from firsthop.bench.benchmark import Benchmark
from firsthop.bench.quality import cases, chart, run, show

BENCHMARK: Final = Benchmark(
    title="How speech sounds behind a bad network, and how late it is",
    full=cases.FULL,
    quick=cases.QUICK,
    steps=run.steps,
    run=run.run,
    table=show.SHEET.table,
    markdown=show.SHEET.markdown,
    chart=chart.CHART,
)
