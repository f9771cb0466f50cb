"""The plot of what calls cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench.media.sights import GOOD, gaps, many
from firsthop.bench.media import figures
from firsthop.bench.media.chart import CHART
from firsthop.bench.report import Report


def test_costs_are_bars_and_the_ramp_is_lines(tmp_path: Path) -> None:
    rounds = {"firsthop": [GOOD], "aiortc": [replace(GOOD, cpu_s=1.3)]}
    report = Report("media", {"machine": "a toaster"}, figures.cost_rows("pcm", 10, rounds, {}))
    silent = many(250, received=0, gaps=gaps())
    report.rows += figures.ramp_rows("firsthop", [many(10), silent], 1_250)
    png, svg = CHART.save(report, tmp_path, title="What a call costs")
    drawn = svg.read_text()
    assert png.stat().st_size > 10_000
    for text in ("PCM echo, 10 sessions: firsthop<", "5.00  (0.08 of aiortc)<", "a toaster<"):
        assert text in drawn


def test_without_costs_nothing_is_drawn(tmp_path: Path) -> None:
    assert CHART.save(Report("media", {}), tmp_path, title="") == []
