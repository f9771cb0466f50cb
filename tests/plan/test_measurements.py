"""What plans rest on is what the pages say."""

from __future__ import annotations

import math

import pytest

from firsthop.config import Settings
from firsthop.fleet.beat import BeatSeal
from firsthop.plan.measurements import Measurement, shipped
from plan.page import ROOT
from plan.tables import Section, numbers, section

ALL = shipped().measurements
PAGE = (ROOT / "docs" / "benchmarks.md").read_text()
SECTIONS = {name: section(PAGE, bench.section) for name, bench in shipped().benches.items()}


@pytest.mark.parametrize("name", [name for name, of in ALL.items() if of.bench])
def test_a_measured_figure_is_that_of_its_row(name: str) -> None:
    of = ALL[name]
    assert of.bench and of.table is not None and of.line and of.column
    cell = SECTIONS[of.bench].cell(of.table, of.line, of.column)
    assert numbers(cell)[of.part] == of.value


@pytest.mark.parametrize("bench", SECTIONS)
def test_runs_are_those_of_the_page(bench: str) -> None:
    about = SECTIONS[bench].about
    of = shipped().benches[bench]
    assert (about["date"], about["machine"]) == (of.date, of.machine)


@pytest.mark.parametrize("name", [name for name, of in ALL.items() if of.quote])
def test_what_is_quoted_stands_on_its_page_and_holds_the_figure(name: str) -> None:
    of = ALL[name]
    assert of.page and of.quote and of.value is not None
    assert of.quote in (ROOT / of.page).read_text()
    assert of.value in numbers(of.quote)


def test_a_setting_has_the_default_that_plans_take() -> None:
    [of] = [of for of in ALL.values() if of.setting]
    assert of.setting == "relay.flow_idle_seconds"
    assert Settings().relay.flow_idle_seconds == of.value


def test_a_beat_is_as_long_as_plans_say() -> None:
    assert BeatSeal({0: bytes(32)}, 0).slot_bytes == shipped().value("beat_bytes")


@pytest.mark.parametrize("name", ALL)
def test_every_figure_has_a_source(name: str) -> None:
    of = ALL[name]
    assert of.bench or of.setting or of.page
    assert of.source(shipped().benches).split(":")[0] in {"measured", "defined", "not measured"}
    assert (of.value is None) == (of.kind == "not measured")
    assert of.value is None or math.isfinite(of.value)


def test_a_figure_that_is_not_known_cannot_have_been_measured() -> None:
    with pytest.raises(ValueError, match="not measured"):
        Measurement(value=None, unit="ms", what="something", kind="measured")


def test_a_table_is_read_by_heading_line_and_column() -> None:
    page = "## One\n### Results\ndate: today  \n**A table**\n\n| | b |\n| --- | ---: |\n"
    page += "| x | 1,234 ms |\n"
    of = section(page, "One")
    assert of == Section({"date": "today"}, {"A table": {"x": {"b": "1,234 ms"}}})
    assert numbers(of.cell("A table", "x", "b")) == [1234.0]
