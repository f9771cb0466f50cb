"""Rows and targets, made of what calls were seen to cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from bench.media.sights import GOOD, gaps, many
from firsthop.bench.media import figures
from firsthop.bench.media.figures import CPU, EARS, FEW, GAP, GROWTH, HELD, MANY
from firsthop.bench.media.seen import Seen
from firsthop.bench.media.servers import Echo
from firsthop.bench.report import Report, Row


def costs(echo: Echo, sessions: int, cost: float, others: dict[str, float]) -> Report:
    """Three rounds in which firsthop took `cost` ms, and others what they took."""
    rounds = {
        server: [many(sessions, cpu_s=ms / 1000 * sessions * 2)] * 3
        for server, ms in {"firsthop": cost, **others}.items()
    }
    return Report("media", {}, figures.cost_rows(echo, sessions, rounds, {"aiortc": "its own"}))


def of(report: Report, case: str, server: str, metric: str = CPU) -> Row:
    row = report.row(case, server, metric)
    assert row is not None
    return row


@pytest.mark.parametrize(
    ("echo", "cost", "others", "holds"),
    [
        ("pcm", 10.0, {"pion": 12.0, "aiortc": 61.0}, True),
        ("pcm", 10.0, {"pion": 12.0, "aiortc": 59.0}, False),
        ("pcm", 8.0, {"pion": 10.0}, True),
        ("pcm", 8.1, {"pion": 10.0}, False),
        ("packets", 0.7, {"pion": 1.4}, True),
        ("packets", 0.71, {"pion": 1.4}, False),
    ],
)
def test_cost_has_to_be_so_much_less_than_a_peers(
    echo: Echo, cost: float, others: dict[str, float], holds: bool
) -> None:
    report = costs(echo, 10, cost, others)
    assert [row.contender for row in report.rows if row.target] == ["firsthop"]
    assert of(report, figures.case(echo, 10), "firsthop").holds is holds


def test_where_no_peer_is_there_is_no_target() -> None:
    report = costs("pcm", 10, 8.0, {})
    row = of(report, "PCM echo, 10 sessions", "firsthop")
    assert (row.ratio, row.target) == (1.0, None)


def test_a_round_that_is_unfit_does_not_count_and_is_told() -> None:
    late = replace(GOOD, cpu_s=9.0, gaps=gaps(ms40=1_000))
    rows = figures.cost_rows("pcm", 10, {"firsthop": [GOOD, late, GOOD]}, {})
    assert rows[0].value == pytest.approx(5.0)
    assert (rows[0].high, rows[0].unfit) == (rows[0].value, False)
    assert rows[0].note == "gap p99 40 ms in 1 of 3 rounds"


def test_no_target_holds_if_no_round_was_fit() -> None:
    lossy = replace(GOOD, lost=5)
    rows = figures.cost_rows("pcm", 10, {"firsthop": [lossy], "pion": [many(10, cpu_s=1.0)]}, {})
    assert (rows[0].contender, rows[0].ratio, rows[0].holds) == ("firsthop", 0.1, False)
    assert rows[0].note == "0.50% of packets lost"


def test_why_rows_do_not_count_is_among_the_remarks() -> None:
    rounds = {"firsthop": [replace(GOOD, lost=5)], "pion": [GOOD]}
    rows = figures.cost_rows("packets", 10, rounds, {})
    told = "pass-through echo, 10 sessions, firsthop: 0.50% of packets lost"
    assert list(figures.faults(rows)) == [told]


def test_what_a_reader_has_to_know_of_a_server_is_in_its_row() -> None:
    report = costs("pcm", 10, 8.0, {"aiortc": 66.0})
    assert of(report, "PCM echo, 10 sessions", "aiortc").note == "its own"


def test_gaps_and_what_ears_heard_have_rows_of_their_own() -> None:
    rounds = {"pion": [GOOD, replace(GOOD, delays_ms=[])], "firsthop": [GOOD]}
    report = Report("media", {}, figures.cost_rows("pcm", 10, rounds, {}))
    case = "PCM echo, 10 sessions"
    assert of(report, case, "pion", GAP).value == 20.25
    assert [of(report, case, "pion", metric).value for metric in EARS.values()] == [21.0, 30.0]


def ramp(sessions: Sequence[int], last: Seen | None = None) -> Report:
    seen = [many(number) for number in sessions] + ([last] if last else [])
    return Report("media", {}, list(figures.ramp_rows("firsthop", seen, 1_250)))


def test_held_are_as_many_as_were_fit_before_the_first_that_were_not() -> None:
    held = of(ramp([10, 250], many(500, lost=50)), figures.RAMP, "firsthop", HELD)
    assert (held.value, held.holds) == (250, False)
    assert held.note == "500: 0.10% of packets lost"


def test_a_thousand_have_to_be_held() -> None:
    held = of(ramp([10, 500, 1_000, 1_250]), figures.RAMP, "firsthop", HELD)
    assert (held.value, held.holds, held.note) == (1_250, True, "no more were tried")


def test_a_ramp_that_was_broken_off_says_not_that_it_ended() -> None:
    held = of(ramp([10, 250]), figures.RAMP, "firsthop", HELD)
    assert (held.value, held.note) == (250, "")


def test_a_short_ramp_is_held_to_nothing() -> None:
    rows = list(figures.ramp_rows("firsthop", [many(10), many(200)], 200))
    assert {row.holds for row in rows} == {None}


def test_a_peer_is_held_to_nothing() -> None:
    rows = list(figures.ramp_rows("pion", [many(10), many(1_000)], 1_250))
    rows += figures.scale_rows("pion", [many(FEW), many(MANY)])
    rows.append(figures.idle_row("pion", many(MANY)))
    grown = figures.growth_row("packets", "pion", [many(FEW), many(MANY)])
    assert grown is not None
    assert {row.target for row in [*rows, grown]} == {None}


@pytest.mark.parametrize(("ms", "holds"), [(0.012, True), (0.0121, False)])
def test_a_session_among_a_thousand_may_cost_a_fifth_more_than_among_ten(
    ms: float, holds: bool
) -> None:
    few, more = figures.scale_rows("firsthop", [many(FEW), many(MANY, cpu_s=ms * MANY)])
    assert (few.ratio, more.reference, more.holds) == (1.0, "firsthop, 10", holds)


def test_without_a_thousand_there_is_nothing_to_compare() -> None:
    assert figures.scale_rows("firsthop", [many(FEW), many(750)]) == []


@pytest.mark.parametrize(("each", "holds"), [(150_000, True), (151_000, False)])
def test_memory_is_what_sessions_added(each: int, holds: bool) -> None:
    before = many(10)
    after = many(510, resident_bytes=before.resident_bytes + 500 * each)
    row = figures.growth_row("packets", "firsthop", [before, many(250), after])
    assert row is not None
    assert (row.metric, row.value, row.holds) == (GROWTH, each / 1000, holds)


def test_memory_of_calls_that_did_not_come_about_is_not_counted() -> None:
    assert figures.growth_row("pcm", "firsthop", [many(10), many(50, connected=49)]) is None


def test_idle_sessions_may_take_a_twentieth_of_a_core() -> None:
    assert figures.idle_row("firsthop", many(MANY, cpu_s=0.1)).holds is True
    assert figures.idle_row("firsthop", many(MANY, cpu_s=0.102)).holds is False
    assert figures.idle_row("firsthop", many(MANY, cpu_s=0.0, connected=999)).holds is False
    assert figures.idle_row("firsthop", many(200, cpu_s=0.1)).holds is None
