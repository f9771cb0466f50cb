"""`firsthop plan`, as a shell sees it."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from firsthop.cli import app
from firsthop.errors import ConfigError
from plan.page import PAGE, output, rendered
from plan.test_regions import EXAMPLE

COMMAND = ["plan", "--regions", str(EXAMPLE)]


def test_the_page_shows_what_the_command_prints() -> None:
    page = PAGE.read_text()
    assert rendered(page) == page, "write it anew: PYTHONPATH=tests .venv/bin/python -m plan.page"


def test_the_page_has_a_small_a_middle_and_a_huge_example() -> None:
    for users in (1000, 100_000, 900_000_000):
        assert f"--weekly-users {users}\n" in PAGE.read_text()


def test_a_plan_fits_into_a_hundred_columns() -> None:
    printed = output("plan --regions examples/plan/regions.yaml --weekly-users 8000000000")
    assert max(len(line) for line in printed.splitlines()) <= 100
    assert "…" not in printed


def test_all_that_is_printed_is_named_below() -> None:
    printed = output("plan --regions examples/plan/regions.yaml --sessions 1000 --media opus")
    named = printed.partition("Given and assumed")[2]
    done = CliRunner().invoke(app, [*COMMAND, "--sessions", "1000", "--media", "opus", "--json"])
    found = json.loads(done.stdout)
    for figure in found["in_all"].values():
        for name in figure["rests_on"]:
            assert name.startswith("price.") or f"\n{name} " in named


def test_programs_get_figures_with_what_they_rest_on() -> None:
    done = CliRunner().invoke(app, [*COMMAND, "-w", "900000000", "--json"])
    found = json.loads(done.stdout)
    assert [region["name"] for region in found["regions"]][:2] == ["fra", "iad"]
    transceivers = found["regions"][0]["figures"]["transceivers"]
    assert transceivers["value"] > 20_000
    assert "session_pcm" in transceivers["rests_on"]
    assert found["measurements"]["session_pcm"]["source"].startswith("measured: bench media, ")
    assert found["measurements"]["session_pcm"]["machine"]
    assert found["inputs"]["minutes_per_week"]["assumed"] is True
    assert found["inputs"]["weekly_users"]["assumed"] is False
    assert found["in_all"]["cost"]["value"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--sessions: expected either"),
        (["-n", "10", "-w", "10"], "--sessions: expected either"),
        (["-n", "0"], "--sessions: 0: expected 1 to"),
        (["-n", "nan"], "--sessions: nan: expected"),
        (["-w", "1e12"], "--weekly-users: 1e+12: expected 1 to 8,000,000,000"),
        (["-n", "10", "--minutes-per-week", "5"], "--minutes-per-week: has no meaning"),
        (["-w", "10", "--peak-to-mean", "0.5"], "--peak-to-mean: 0.5: expected 1 to 100"),
        (["-n", "10", "--agent-speaks", "2"], "--agent-speaks: 2: expected 0 to 1"),
        (["-n", "10", "--media", "video"], "--media: 'video': expected pcm or opus"),
    ],
)
def test_an_option_that_is_wrong_is_named(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(app, [*COMMAND, *arguments])
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception).startswith(said)
