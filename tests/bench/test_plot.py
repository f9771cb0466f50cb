"""Plots of a report."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from firsthop.bench import plot
from firsthop.bench.errors import BenchError
from firsthop.bench.report import Report, Row, Target

ROW = Row.of_rounds("up", "firsthop", "CPU per packet", "ns", [600.0, 560.0, 1000.0])
REFERENCE = Row.of_rounds("up", "c-mmsg", "CPU per packet", "ns", [2400.0])
REPORT = Report(
    "relay",
    {"machine": "a toaster"},
    [
        replace(REFERENCE, ratio=1.0),
        replace(ROW, ratio=0.25, target=Target("ratio", 0.3)),
        replace(ROW, case="memory"),
    ],
)


def test_a_plot_is_a_png_and_an_svg(tmp_path: Path) -> None:
    png, svg = plot.CHART.save(REPORT, tmp_path / "new", title="Relays")
    assert png.read_bytes().startswith(b"\x89PNG")
    text = svg.read_text()
    for shown in ("Relays", "up: CPU per packet", "firsthop", "c-mmsg", "600 ns", "a toaster"):
        assert shown in text
    assert "memory" not in text


def test_a_report_without_ratios_has_no_plot(tmp_path: Path) -> None:
    assert plot.CHART.save(Report("relay", {}, [ROW]), tmp_path, title="Nothing") == []
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BenchError, match=r"firsthop\[bench\]"):
        plot.CHART.save(REPORT, tmp_path, title="Relays")
