"""The report: the same seed, the same rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from firsthop.bench.fleet import chart, run, show
from firsthop.bench.fleet.run import Scale
from firsthop.bench.report import Report


def simulated(seed: int) -> Report:
    told: list[str] = []
    report = run.run(Scale(5000, seed), Path("nowhere"), told.append)
    assert len(told) == run.steps(run.QUICK)
    return report


@pytest.fixture(scope="module")
def report() -> Report:
    return simulated(1)


def test_rows_depend_on_the_seed_and_on_nothing_else(report: Report) -> None:
    assert simulated(1).rows == report.rows
    assert simulated(2).rows != report.rows


def test_the_table_has_every_row(report: Report) -> None:
    text = show.SHEET.markdown(report)
    for row in report.rows:
        assert row.case in text
        assert row.contender in text
    assert "bench recovery" in text


def test_there_is_a_plot(report: Report, tmp_path: Path) -> None:
    png, svg = chart.CHART.save(report, tmp_path, title="A fleet")
    assert png.stat().st_size > 10_000
    assert "iad" in svg.read_text()


def test_a_report_without_a_simulation_has_no_plot(tmp_path: Path) -> None:
    assert chart.CHART.save(Report("fleet", {}), tmp_path, title="A fleet") == []
