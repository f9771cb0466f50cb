"""What calls reached, and the rows that they become."""

from __future__ import annotations

import pytest

from firsthop.bench.errors import BenchError
from firsthop.bench.report import Report, Row
from firsthop.bench.setup import chart, show, stages
from firsthop.bench.setup.run import agreed
from firsthop.bench.setup.servers import AIORTC, DIRECT, RELAYED, SNAP
from firsthop.bench.setup.stages import (
    ADDED,
    ANSWER,
    AUDIO,
    CHANNEL,
    CONNECTED,
    TRIPS,
    WHOLE,
    Reached,
)
from firsthop.bench.setup.stages import EVERYWHERE as ALL


def reached(
    rtt_ms: float, *, channel_trips: int = 4, later_ms: float = 0.0, answer_ms: float = 4.0
) -> Reached:
    """Return a call that takes whole round trips and a few milliseconds."""
    answer = rtt_ms + answer_ms
    return Reached.of(
        {
            "answer": answer,
            "ice": answer + rtt_ms + 3,
            "connected": answer + 2 * rtt_ms + 8 + later_ms,
            "audio": answer + 3 * rtt_ms + 12,
            "channel": answer + channel_trips * rtt_ms + 10,
        }
    )


def rows(**later_ms: float) -> list[Row]:
    """Return the rows of three calls each of some servers, near and far."""
    return stages.rows(
        {
            rtt_ms: {
                DIRECT: [reached(rtt_ms)] * 3,
                SNAP: [reached(rtt_ms, channel_trips=2)] * 3,
                RELAYED: [reached(rtt_ms, later_ms=later_ms.get("relay", 1.0))] * 3,
                AIORTC: [reached(rtt_ms, channel_trips=6)] * 3,
            }
            for rtt_ms in (0.0, 100.0)
        }
    )


def row(case: str, contender: str, metric: str, given: list[Row] | None = None) -> Row:
    found = Report("setup", {}, rows=rows() if given is None else given).row(
        case, contender, metric
    )
    assert found is not None
    return found


def test_all_but_the_answer_counts_from_the_answer() -> None:
    call = reached(100)
    assert call.ms(ANSWER) == 104
    assert call.ms(CONNECTED) == 208


def test_a_call_that_did_not_get_everywhere_says_where() -> None:
    with pytest.raises(BenchError, match="ICE, first audio"):
        Reached.of({"answer": 1.0, "connected": 2.0, "channel": 3.0})


def test_round_trips_are_what_the_distance_adds() -> None:
    assert row("100 ms RTT", DIRECT, f"{ANSWER}, {TRIPS}").value == 1
    assert row("100 ms RTT", DIRECT, f"{CONNECTED}, {TRIPS}").value == 2
    assert row("100 ms RTT", AIORTC, f"{CHANNEL}, {TRIPS}").value == 6


def test_nothing_is_near_enough_to_have_round_trips() -> None:
    assert not [one for one in rows() if one.case == "0 ms RTT" and TRIPS in one.metric]


def test_without_calls_from_nearby_there_are_no_round_trips() -> None:
    made = stages.rows({50.0: {DIRECT: [reached(50)]}})
    assert not [one for one in made if TRIPS in one.metric]


def test_targets_are_round_trips_and_a_few_milliseconds_of_ours_alone() -> None:
    connected = row("100 ms RTT", DIRECT, CONNECTED)
    assert connected.target is not None and connected.target.bound == 215 and connected.holds
    audio = row("100 ms RTT", SNAP, AUDIO)
    assert audio.target is not None and audio.target.bound == 340 and audio.holds
    assert row("100 ms RTT", AIORTC, CONNECTED).target is None


def test_a_data_channel_may_take_four_round_trips_and_two_with_snap() -> None:
    assert row("100 ms RTT", DIRECT, f"{CHANNEL}, {TRIPS}").holds
    assert row("100 ms RTT", SNAP, f"{CHANNEL}, {TRIPS}").holds
    slow = stages.rows({rtt: {SNAP: [reached(rtt, channel_trips=4)]} for rtt in (0.0, 100.0)})
    assert row("100 ms RTT", SNAP, f"{CHANNEL}, {TRIPS}", slow).holds is False


def test_from_the_post_until_connected_counts_nearby() -> None:
    whole = row("0 ms RTT", DIRECT, WHOLE)
    assert whole.value == 12 and whole.holds
    late = stages.rows({0.0: {DIRECT: [reached(0, answer_ms=13)]}})
    assert row("0 ms RTT", DIRECT, WHOLE, late).holds is False


def test_the_relay_adds_what_its_calls_take_longer_than_those_of_the_same_turn() -> None:
    added = row(ALL, RELAYED, ADDED)
    assert added.value == 1 and added.holds
    assert row("100 ms RTT", RELAYED, f"{ADDED}, {TRIPS}").holds
    far = rows(relay=100.0)
    assert row(ALL, RELAYED, ADDED, far).holds is False
    assert row("100 ms RTT", RELAYED, f"{ADDED}, {TRIPS}", far).holds is False


def test_a_server_without_calls_has_no_rows() -> None:
    made = stages.rows({0.0: {DIRECT: [reached(0)], AIORTC: []}})
    assert {one.contender for one in made} == {DIRECT}


def test_the_table_has_milliseconds_and_round_trips_of_each_distance() -> None:
    text = show.SHEET.markdown(Report("setup", {}, rows=rows()))
    assert "**0 ms RTT**" in text and "**100 ms RTT, round trips**" in text
    assert "**0 ms RTT, round trips**" not in text
    assert f"| {DIRECT} | 104 | 103 | 208 | 312 | 410 |  | yes |" in text
    assert f"| {AIORTC} | 1.0 | 1.0 | 2.0 | 3.0 | 6.0 |  |  |" in text
    assert "| all distances, ms |  |  | 1.0 |  |  | ≤ 2 | yes |" in text


def test_there_is_a_panel_for_each_distance() -> None:
    few = chart.CHART.inches(Report("setup", {}, rows=rows()))
    assert few is not None
    assert chart.CHART.inches(Report("setup", {})) is None


def test_dtls_is_told_from_the_side_of_the_server() -> None:
    assert agreed({"tlsVersion": "FEFC", "dtlsRole": "client"}) == "1.3 passive"
    assert agreed({"tlsVersion": "FEFD", "dtlsRole": "server"}) == "1.2 active"
    assert agreed({}) == "unknown unknown"
