"""The report, for terminals and for programs."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from firsthop.load import report
from firsthop.load.measured import Measured
from firsthop.load.own import Own
from load.findings import TOTALS, measured


def text(found: Measured) -> str:
    stream = io.StringIO()
    Console(file=stream, width=80).print(report.table(found))
    return stream.getvalue()


def test_the_table_tells_what_became_of_calls_and_why() -> None:
    shown = text(measured())
    assert "3 of 5 calls stood, 2 failed (1 of them dropped), 2 moved" in shown
    assert "no room for <b>another</b> call" in shown
    assert "mouth to ear" in shown
    assert "2 marks did not come back" in shown
    assert "20 lost (2.2 %)" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_the_json_is_one_object_with_every_figure() -> None:
    told = json.loads(json.dumps(report.as_json(measured())))
    assert told["calls"] == {
        "asked": 5,
        "started": 5,
        "stood": 3,
        "failed": 2,
        "unfinished": 0,
        "dropped": 1,
        "moved": 2,
        "per_second": 20.0,
    }
    assert told["dropped"] == {"lost": 1}
    assert told["failures"]["http 503"]["calls"] == 1
    assert told["setup_ms"]["answer"] == {"calls": 4, "p50": 3, "p95": 5, "p99": 5, "max": 5}
    assert "audio" not in told["setup_ms"]
    assert told["media"]["lost_percent"] == pytest.approx(2.222)
    # The longest is longer than what is known of it.
    assert told["media"]["gap_ms"] == {"p50": 20.0, "p95": 20.25, "p99": 32.75, "max": None}
    assert told["media"]["mouth_to_ear_ms"]["p50"] == 54
    assert told["load"]["doubts"] == []


def test_moves_have_their_times_their_silences_and_why_others_failed() -> None:
    moves = report.as_json(measured())["handovers"]
    assert (moves["moved"], moves["failed"]) == (2, 1)
    assert moves["failures"] == {"http 401": {"moves": 1, "example": "no <i>key</i>"}}
    assert moves["took_ms"]["max"] == 61.0
    # The other one was silent anyway.
    assert moves["gap_ms"] == {"p50": 3.5, "p95": 3.5, "p99": 3.5, "max": 3.5}
    shown = text(measured())
    assert "not moved because of" in shown
    assert "silence at a move" in shown
    assert report.as_json(measured(moves=[]))["handovers"]["gap_ms"] is None


def test_the_course_has_every_second_since_a_moment_that_clocks_agree_on() -> None:
    told = report.as_json(measured())
    assert told["began_unix_s"] == 1_790_000_000.25
    assert [instant["at_s"] for instant in told["course"]] == [1.0, 2.0]
    assert told["course"][1] == {
        "at_s": 2.0,
        "connecting": 0,
        "connected": 3,
        "failed": 2,
        "received": 150,
        "lost": 5,
        "unreturned": 0,
        "placed": 0,
        "refused": 0,
        "dropped": 1,
        "moved": 2,
        "longest_gap_ms": 85.0,
    }


def test_what_did_not_come_back_is_told_of_a_server_that_returns_packets() -> None:
    assert report.as_json(measured())["media"]["unreturned"] is None
    found = measured(totals={**TOTALS, "returned": 800, "unreturned": 7})
    assert report.as_json(found)["media"]["unreturned"] == 7
    assert "7 of those sent did not come back" in text(found)


def test_json_has_no_number_that_is_none() -> None:
    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    found = measured(gaps=[0] * 1999 + [3])
    json.loads(json.dumps(report.as_json(found)), parse_constant=refuse)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"delays_ms": [], "marks_missed": 9}, report.NO_ECHO),
        ({"delays_ms": [], "talks": False}, "callers say nothing"),
    ],
)
def test_an_agent_that_is_no_echo_is_no_error(changes: dict[str, Any], said: str) -> None:
    found = measured(**changes)
    assert said in text(found)
    assert report.as_json(found)["media"]["mouth_to_ear_ms"] is None


def test_a_load_without_a_single_call_has_a_report_too() -> None:
    found = measured(
        started=1,
        stood=0,
        failures={"timed out": 1},
        stages_ms={},
        totals=dict.fromkeys(TOTALS, 0),
        gaps=[0] * 2000,
        jitter_ms=[],
        round_trip_ms=[],
        delays_ms=[],
        dropped={},
        moves=[],
        instants=[],
    )
    assert "0 of 1 calls stood, 1 failed" in text(found)
    assert report.as_json(found)["media"]["lost_percent"] is None


@pytest.mark.parametrize(
    ("own", "doubt"),
    [
        (Own(0.95, 0.0, 1.0, 0.0), "busy"),
        (Own(0.2, 0.2, 1.0, 0.0), "waited for a core"),
        (Own(0.2, None, 1.0, 0.1), "10.0% of its packets"),
        (Own(0.2, None, 1.0, 0.0, unsent=7), "7 datagrams"),
        (Own(0.2, None, 80.0, 0.0), "80 ms late"),
    ],
)
def test_a_load_machine_that_was_the_bottleneck_is_told(own: Own, doubt: str) -> None:
    [told] = own.doubts()
    assert doubt in told
    assert "doubtful" in text(measured(own=own))
    assert Own(0.2, 0.0, 1.0, 0.0).doubts() == []
