"""`firsthop bench fleet`, for the command."""

from __future__ import annotations

from typing import Final

from firsthop.bench.benchmark import Benchmark
from firsthop.bench.fleet import chart, run, show

BENCHMARK: Final = Benchmark(
    title="A fleet when relays come and go, an ingress is lost, and a crowd calls",
    full=run.FULL,
    quick=run.QUICK,
    steps=run.steps,
    run=run.run,
    table=show.SHEET.table,
    markdown=show.SHEET.markdown,
    chart=chart.CHART,
)
