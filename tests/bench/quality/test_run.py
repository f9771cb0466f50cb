"""`firsthop bench quality`, without measuring."""

from __future__ import annotations

import io
import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from firsthop.bench.command import app
from firsthop.bench.errors import SkippedError
from firsthop.bench.quality import benchmark, cases, chromium, run, show
from firsthop.bench.quality.cases import CLEAN, TARGET, Case
from firsthop.bench.quality.chromium import CHROMIUM
from firsthop.bench.quality.judge import Judgement
from firsthop.bench.quality.listeners import AIORTC, FIRSTHOP
from firsthop.bench.quality.run import CONCEALED, DELAY, DELAY_P95, DRIFT, MOS, UNHEARD
from firsthop.bench.report import Report, Row

GOOD = Judgement([4.0, 3.0], [10.0, 20.0, 30.0], 0.1, 5.0, None)
THEIRS = Judgement([3.2, 3.0], [100.0, 150.0, 300.0], 0.0, 5.0, 0.04)
DEAF = Judgement([1.0, 1.0], [], 1.0, 0.0, None)


def found(ours: Judgement) -> run.Found:
    return {
        (CLEAN, FIRSTHOP): [ours, ours],
        (CLEAN, CHROMIUM): [THEIRS],
        (TARGET, FIRSTHOP): [ours],
        (TARGET, AIORTC): [DEAF],
        (TARGET, CHROMIUM): [THEIRS],
    }


def rows(ours: Judgement) -> dict[tuple[str, str, str], Row]:
    return {(row.case, row.contender, row.metric): row for row in run.rows(found(ours))}


def test_every_call_counts() -> None:
    other = replace(GOOD, mos=[2.0], delays_ms=[70.0], drift_ms=25.0)
    made = {row.metric: row for row in run.rows({(CLEAN, FIRSTHOP): [GOOD, other]})}
    assert (made[MOS].value, made[MOS].low, made[MOS].high) == (3.0, 2.0, 4.0)
    assert (made[DELAY].value, made[DELAY].low, made[DELAY].high) == (25.0, 20.0, 70.0)
    assert (made[UNHEARD].value, made[DRIFT].value) == (10.0, 15.0)
    assert CONCEALED not in made


def test_what_was_never_found_has_a_score_and_no_delay() -> None:
    made = rows(GOOD)
    assert made[TARGET.name, AIORTC, MOS].value == 1.0
    assert made[TARGET.name, AIORTC, UNHEARD].value == 100.0
    assert (TARGET.name, AIORTC, DELAY) not in made


def test_the_target_is_chromiums_score_less_a_little_at_no_more_delay() -> None:
    def holds(ours: Judgement) -> dict[tuple[str, str], bool]:
        bound = [(key, row.holds) for key, row in rows(ours).items() if row.holds is not None]
        assert {listener for (_, listener, _), _ in bound} == {FIRSTHOP}
        return {(case, metric): held for (case, _, metric), held in bound}

    all_three = [(CLEAN.name, DELAY_P95), (TARGET.name, MOS), (TARGET.name, DELAY)]
    assert holds(replace(GOOD, delays_ms=[20.0])) == dict.fromkeys(all_three, True)
    worse = replace(GOOD, mos=[2.89], delays_ms=[151.0])
    assert holds(worse) == dict.fromkeys(all_three, False)
    assert holds(replace(GOOD, mos=[2.9]))[TARGET.name, MOS]


def test_without_chromium_there_is_nothing_to_reach_but_little_delay() -> None:
    made = run.rows({(CLEAN, FIRSTHOP): [GOOD], (TARGET, FIRSTHOP): [GOOD]})
    assert [(row.case, row.metric) for row in made if row.target] == [(CLEAN.name, DELAY_P95)]


def test_each_network_has_a_name_of_its_own() -> None:
    names = [case.name for case in cases.FULL.cases]
    assert len(set(names)) == len(names)
    assert Case(loss=0.1, jitter_ms=30, burst=3).name == "10 % lost in bursts, 30 ms jitter"
    assert {CLEAN, TARGET} <= set(cases.QUICK.cases) <= set(cases.FULL.cases)


async def test_without_chromium_it_is_left_out_and_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SkippedError, match="apt-get install chromium"):
        async with chromium.chromium("127.0.0.1", tmp_path):
            pass


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def report() -> Report:
    return Report("quality", {"machine": "a toaster"}, list(run.rows(found(GOOD))))


def test_a_table_has_a_line_per_listener_within_80_columns() -> None:
    out = io.StringIO()
    Console(file=out, width=80).print(show.SHEET.table(report()))
    lines = [line.strip() for line in out.getvalue().splitlines()]
    ours = [line for line in lines if line.startswith(FIRSTHOP) and "✓" in line]
    assert "≤ 25 ms" not in ours[-1]
    assert "≥ 2.9, ≤ 150 ms" in ours[-1]
    assert TARGET.name in lines


def test_a_run_is_kept_as_lines_text_and_plots(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def measure(scale: cases.Scale, folder: Path, progress: Callable[[str], None]) -> Report:
        assert scale == cases.QUICK
        progress("measuring nothing")
        return report()

    monkeypatch.setattr(benchmark, "BENCHMARK", replace(benchmark.BENCHMARK, run=measure))
    done = CliRunner().invoke(app, ["quality", "--quick", "--json", "-o", str(tmp_path)])
    assert done.exit_code == 0
    _, *lines = map(json.loads, done.stdout.splitlines())
    assert [line["metric"] for line in lines if line["holds"] is False] == [DELAY_P95]
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept == {"quality.jsonl", "quality.md", "quality.png", "quality.svg"}
    assert "a clean path: firsthop" in (tmp_path / "quality.md").read_text()
    assert "30 ms jitter" in (tmp_path / "quality.svg").read_text()
