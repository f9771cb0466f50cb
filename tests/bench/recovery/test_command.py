"""`firsthop bench recovery`, without measuring."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from firsthop.bench.command import app
from firsthop.bench.recovery import benchmark, run
from firsthop.bench.report import Report, Row, Target

ROW = Row("crash", "talks, Redis", "up p99", 120.0, "ms", 110, 130, target=Target("value", 100))


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def scales(monkeypatch: pytest.MonkeyPatch) -> list[run.Scale]:
    """Measure nothing, and note at which scale."""
    seen = []

    def measure(scale: run.Scale, folder: Path, progress: Callable[[str], None]) -> Report:
        seen.append(scale)
        progress("measuring nothing")
        return Report("recovery", {"machine": "a toaster"}, [ROW])

    monkeypatch.setattr(benchmark, "BENCHMARK", replace(benchmark.BENCHMARK, run=measure))
    return seen


def test_json_is_all_that_comes_out(scales: list[run.Scale], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["recovery", "--json", "--quick", "-o", str(tmp_path)])
    assert done.exit_code == 0
    about, row = map(json.loads, done.stdout.splitlines())
    assert about["bench"] == "recovery"
    assert (row["metric"], row["value"], row["holds"]) == ("up p99", 120, False)
    assert scales == [run.QUICK]


def test_a_run_is_kept_as_lines_text_and_plots(scales: list[run.Scale], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["recovery", "-o", str(tmp_path / "new")])
    assert done.exit_code == 0
    assert "talks, Redis" in done.stdout
    kept = {path.name for path in (tmp_path / "new").iterdir()}
    assert kept == {"recovery.jsonl", "recovery.md", "recovery.png", "recovery.svg"}
    assert "| crash: talks, Redis |" in (tmp_path / "new" / "recovery.md").read_text()
    assert "1 of the targets missed" in done.stderr
    assert scales == [run.FULL]
