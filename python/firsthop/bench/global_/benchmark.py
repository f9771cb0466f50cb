"""`firsthop bench global`, for the command."""

from __future__ import annotations

from typing import Final

from firsthop.bench.benchmark import Benchmark
from firsthop.bench.global_ import chart, run, show

BENCHMARK: Final = Benchmark(
    title="A call from afar: straight, by TURN, by Global Relay; and what breaks in mid-call",
    full=run.FULL,
    quick=run.QUICK,
    steps=run.steps,
    run=run.run,
    table=show.SHEET.table,
    markdown=show.SHEET.markdown,
    chart=chart.CHART,
)
