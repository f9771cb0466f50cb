"""`firsthop bench turn`, without measuring."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from firsthop.bench.command import app
from firsthop.bench.errors import SkippedError
from firsthop.bench.report import Report, Row
from firsthop.bench.voice import benchmark, contenders, run
from firsthop.bench.voice.contenders import FIRSTHOP, OFFLINE, PIPECAT
from firsthop.bench.voice.moments import STAGES, Moments
from firsthop.bench.voice.run import CASE, CPU, OWN, TOTAL, Found, Turn, named

MOMENTS = Moments(100.0, 100.52, 100.67, 100.93, 101.14, 101.15)


def found(own_ms: float) -> dict[str, Found]:
    """Twenty turns, each a millisecond longer than the one before; the first as it is told."""
    turns = [Turn(replace(MOMENTS, heard=MOMENTS.heard + n / 1000), own_ms + n) for n in range(20)]
    silent = [replace(turn, own_ms=None) for turn in turns]
    return {
        FIRSTHOP: Found(turns, [120.0, 100.0]),
        OFFLINE: Found(silent, [90.0]),
        PIPECAT: Found(turns, [200.0]),
    }


def rows(own_ms: float) -> dict[tuple[str, str], Row]:
    return {(row.contender, row.metric): row for row in run.rows(found(own_ms))}


def test_every_stage_has_its_figures() -> None:
    told = rows(40.0)
    for stage, ms in zip(STAGES, (520, 150, 260, 210), strict=False):
        assert told[FIRSTHOP, named(stage, "median")].value == pytest.approx(ms)
    totals = [told[FIRSTHOP, named(TOTAL, figure)].value for figure in run.FIGURES]
    assert totals == pytest.approx([1159, 1167, 1168, 1169])
    assert told[FIRSTHOP, CPU].value == 110


def test_the_target_is_p95_of_firsthops_own_share() -> None:
    assert [row.metric for row in rows(40.0).values() if row.target] == [named(OWN, "p95")]
    assert rows(41.0)[FIRSTHOP, named(OWN, "p95")].holds is True
    assert rows(43.0)[FIRSTHOP, named(OWN, "p95")].holds is False


def test_what_has_no_endpoints_has_no_share_of_its_own() -> None:
    assert (OFFLINE, named(OWN, "median")) not in rows(40.0)
    assert (OFFLINE, named(TOTAL, "median")) in rows(40.0)


def test_without_pipecats_packages_it_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(contenders, "PYTHON", tmp_path / ".venv-pipecat/bin/python")
    with (
        ExitStack() as running,
        pytest.raises(SkippedError, match=r"`make \.venv-pipecat/\.stamp/packages` installs"),
    ):
        contenders.pipecat("127.0.0.1", "http://127.0.0.1:9", tmp_path, running)


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def share(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Measure nothing; what it holds is firsthop's own share."""
    own_ms = [40.0]

    def measure(scale: run.Scale, folder: Path, progress: Callable[[str], None]) -> Report:
        assert scale == run.QUICK
        progress("measuring nothing")
        return Report("turn", {"machine": "a toaster"}, list(run.rows(found(own_ms[0]))))

    monkeypatch.setattr(benchmark, "BENCHMARK", replace(benchmark.BENCHMARK, run=measure))
    yield own_ms


def test_a_run_is_kept_as_lines_text_and_plots(share: list[float], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["turn", "--quick", "-o", str(tmp_path)])
    assert done.exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "turn.jsonl",
        "turn.md",
        "turn.png",
        "turn.svg",
    }
    assert f"**{OWN}**" in (tmp_path / "turn.md").read_text()
    assert "| firsthop | 49 | 57 | 58 | 59 | p95 ≤ 60 | yes |" in (tmp_path / "turn.md").read_text()


def test_a_missed_target_is_told_by_the_exit_code(share: list[float], tmp_path: Path) -> None:
    share[0] = 50.0
    done = CliRunner().invoke(app, ["turn", "--quick", "--json", "-o", str(tmp_path)])
    assert done.exit_code == 1
    _, *lines = map(json.loads, done.stdout.splitlines())
    missed = [line["metric"] for line in lines if line["holds"] is False]
    assert missed == [named(OWN, "p95")]
    assert {line["case"] for line in lines} == {CASE}
