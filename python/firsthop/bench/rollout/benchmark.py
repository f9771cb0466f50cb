"""`firsthop bench rollout`, for the command."""

from __future__ import annotations

from typing import Final

from firsthop.bench.benchmark import Benchmark
from firsthop.bench.rollout import chart, run, show

BENCHMARK: Final = Benchmark(
    title="A chart rehearsed: upgrades, scaling and a lost node, under calls",
    full=run.FULL,
    quick=run.QUICK,
    steps=run.steps,
    run=run.run,
    table=show.SHEET.table,
    markdown=show.SHEET.markdown,
    chart=chart.CHART,
)
