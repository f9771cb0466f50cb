"""What rows and tables make of a rehearsal."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from firsthop.bench.report import Report, Row
from firsthop.bench.rollout import measures
from firsthop.bench.rollout.crowd import Batch
from firsthop.bench.rollout.measures import (
    AFTER,
    CALLS,
    DROPPED,
    GAP,
    LONG,
    LOST,
    NO_STEP,
    REFUSED,
    SHORT,
    SPARED,
)
from firsthop.bench.rollout.rehearsal import LOSS, OUT, RELAYS, TRANSCEIVERS, Rehearsed, Step
from firsthop.bench.rollout.show import SHEET


def batch(began: float, ended: float, **more: Any) -> Batch:
    """Return a batch of three calls: `refused`, `dropped`, `lost` packets, the longest `gap`."""
    refused, dropped = more.get("refused", 0), more.get("dropped", 0)
    # One second more than counts, before and after; those that fail are heard of in the first.
    received = [0, 150, 150, 150 - 50 * (refused + dropped), 10]
    report = {
        "calls": {"started": 3, "failed": refused + dropped, "dropped": dropped},
        "handovers": {"moved": more.get("moved", 0)},
        "media": {
            "lost": more.get("lost", 0),
            "unreturned": more.get("unreturned"),
            "received": 100,
        },
        "course": [
            {"at_s": float(at), "received": n, "longest_gap_ms": more.get("gap", 20.0)}
            for at, n in enumerate(received)
        ],
    }
    return Batch(began, ended, report)


def row(rows: list[Row], case: str, who: str, metric: str) -> Row:
    found = Report("rollout", {}, rows).row(case, who, metric)
    assert found is not None
    return found


def test_calls_count_for_each_step_that_they_were_there_in() -> None:
    found = Rehearsed(
        steps=[Step(RELAYS, 10, 20), Step(TRANSCEIVERS, 30, 40)],
        short=[batch(0, 5), batch(8, 11, lost=2), batch(19, 31, dropped=1)],
        long=[batch(29, 41)],
    )
    rows = measures.rows(found)
    assert row(rows, RELAYS, SHORT, CALLS).value == 6
    assert row(rows, RELAYS, SHORT, LOST).value == 2
    assert row(rows, RELAYS, SHORT, LOST).holds is False
    assert row(rows, TRANSCEIVERS, SHORT, CALLS).value == 3
    assert row(rows, TRANSCEIVERS, SHORT, DROPPED).value == 1
    assert row(rows, TRANSCEIVERS, SHORT, LOST).holds is True
    assert row(rows, TRANSCEIVERS, LONG, DROPPED).holds is True
    assert row(rows, NO_STEP, SHORT, CALLS).value == 3


def test_a_packet_that_did_not_come_back_is_lost_wherever_that_was() -> None:
    assert batch(0, 1, lost=1, unreturned=3).lost == 3
    assert batch(0, 1, lost=1).lost == 1


def test_the_gap_of_a_step_is_the_longest_of_any_second() -> None:
    found = Rehearsed(steps=[Step(OUT, 0, 1)], short=[batch(0, 1, gap=31.5), batch(0, 1)])
    assert row(measures.rows(found), OUT, SHORT, GAP).value == 31.5


def test_of_a_lost_node_only_calls_elsewhere_count() -> None:
    found = Rehearsed(
        steps=[Step(LOSS, 10, 20)],
        standing=[batch(0, 30, dropped=1)],
        spared=2,
        after=[batch(21, 23, refused=1)],
    )
    rows = measures.rows(found)
    assert row(rows, LOSS, SPARED, DROPPED).holds is True
    assert row(rows, LOSS, AFTER, REFUSED).holds is False
    found.spared = 3
    assert row(measures.rows(found), LOSS, SPARED, DROPPED).value == 1


def test_a_call_is_heard_when_packets_come_at_the_end() -> None:
    assert batch(0, 4).heard == 3
    assert batch(0, 4, dropped=2).heard == 1
    assert Batch(0, 1, {"calls": {"started": 3}, "course": []}).heard == 0


def test_tables_have_a_line_for_each_step_and_fit_80_columns() -> None:
    found = Rehearsed(
        steps=[Step(RELAYS, 10, 20), Step(LOSS, 30, 40)],
        short=[batch(8, 11, lost=2)],
        standing=[batch(25, 50)],
        spared=3,
        after=[batch(41, 43)],
        took_calls_s=1.25,
    )
    report = Report("rollout", {"machine": "a toaster"}, measures.rows(found))
    console = Console(width=80, record=True)
    console.print(SHEET.table(report))
    text = console.export_text()
    assert f"{LOSS}: {AFTER}" in text
    assert "first call" in text and "1.2 s" in text
    assert all(len(line) <= 80 for line in text.splitlines())
    assert f"| {RELAYS} | 3 | 0 | 0 | **2** | 20 | 0 | ≤ 0 |" in SHEET.markdown(report)
