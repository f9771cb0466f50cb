"""`firsthop bench recovery`, for the command."""

from __future__ import annotations

from typing import Final

from firsthop.bench.benchmark import Benchmark
from firsthop.bench.recovery import chart, run, show

BENCHMARK: Final = Benchmark(
    title="For how long calls are silent when something breaks",
    full=run.FULL,
    quick=run.QUICK,
    steps=run.steps,
    run=run.run,
    table=show.SHEET.table,
    markdown=show.SHEET.markdown,
    chart=chart.CHART,
)
