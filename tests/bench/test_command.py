"""`firsthop bench ...`, without measuring."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from typer.testing import CliRunner

from firsthop.bench import checkout, relay
from firsthop.bench.benchmark import Benchmark
from firsthop.bench.command import LISTED, Listed, app
from firsthop.bench.errors import BenchError
from firsthop.bench.report import Report, Row, Target

ROW = Row.of_rounds("up", "firsthop", "CPU per packet", "ns", [600.0])


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def scales(monkeypatch: pytest.MonkeyPatch) -> list[relay.Scale]:
    """Measure nothing, and note at which scale."""
    seen = []

    def run(scale: relay.Scale, folder: Path, progress: Callable[[str], None]) -> Report:
        seen.append(scale)
        progress("measuring nothing")
        missed = replace(ROW, ratio=0.9, target=Target("ratio", 0.3))
        return Report("relay", {"machine": "a toaster"}, [missed])

    monkeypatch.setattr(relay, "BENCHMARK", replace(relay.BENCHMARK, run=run))
    return seen


@pytest.mark.parametrize("listed", LISTED, ids=lambda listed: listed.name)
def test_what_is_listed_is_there(listed: Listed) -> None:
    of = import_module(listed.module).BENCHMARK
    assert isinstance(of, Benchmark)
    assert 0 < of.steps(of.quick) <= of.steps(of.full)


def test_json_is_all_that_comes_out(scales: list[relay.Scale], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["relay", "--json", "--quick", "-o", str(tmp_path)])
    assert done.exit_code == 0
    about, row = map(json.loads, done.stdout.splitlines())
    assert about["about"] == {"machine": "a toaster"}
    assert row["holds"] is False
    assert scales == [relay.QUICK]


def test_a_run_is_kept_as_lines_text_and_plots(scales: list[relay.Scale], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["relay", "-o", str(tmp_path / "new")])
    assert done.exit_code == 0
    kept = {path.name for path in (tmp_path / "new").iterdir()}
    assert kept == {"relay.jsonl", "relay.md", "relay.png", "relay.svg"}
    assert "1 of the targets missed" in done.stderr
    assert scales == [relay.FULL]


def test_outside_a_checkout_nothing_is_measured(
    scales: list[relay.Scale], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(checkout, "SOURCES", tmp_path)
    done = CliRunner().invoke(app, ["relay"])
    assert isinstance(done.exception, BenchError)
    assert scales == []
