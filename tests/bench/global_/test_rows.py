"""What was seen of calls from afar, and the rows, tables and plots that it becomes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from firsthop.bench.global_ import chart, faults, gaps, measures, show
from firsthop.bench.global_.gaps import TO_AUDIO, Again, From, Gaps
from firsthop.bench.global_.measures import CANDIDATES, MEDIA, SETUP, Media, SetUp
from firsthop.bench.global_.ways import DIRECT, RELAYED, TURN, Way
from firsthop.bench.recovery.run import DOWN_P99, UP_P50, UP_P99
from firsthop.bench.report import Report
from firsthop.bench.setup.stages import CONNECTED, STAGES, TRIPS, Reached

FAR, NEAR = From("sin", 360), From("fra", 10)
WAYS = (
    Way(DIRECT, "http://direct", 380),
    Way(TURN, "http://direct", 370, waits=True),
    Way(RELAYED, "http://gateway", 370),
)


def setup(rtt_ms: float, requests: int = 0) -> SetUp:
    """Return a call that takes whole round trips and a few milliseconds."""
    reached = {"answer": 1, "ice": 2, "connected": 3, "audio": 4, "channel": 5}
    in_ms = {stage: trips * rtt_ms + 3 for stage, trips in reached.items()}
    return SetUp(requests * 20.0, requests, Reached.of(in_ms))


def report(*, requests_of_edges: int = 0) -> Report:
    """Return what a run might have found."""
    found = Report("global", {"machine": "any"})
    requests = {DIRECT: 0, TURN: 2, RELAYED: requests_of_edges}
    setups = {way.name: [setup(way.far_ms, requests[way.name])] * 2 for way in WAYS}
    media = {way.name: [Media(way.far_ms, 2.0, 0.01, 0.0), Media(1, 0, 0, 0)] for way in WAYS}
    both = [Gaps(12.0, 210.0), Gaps(2900.0, 305.0)]
    seen = {(source, fault): both for source in (FAR, NEAR) for fault in faults.IN_MID_CALL}
    found.rows = [
        *measures.setup_rows(WAYS, setups),
        *measures.media_rows(WAYS, media),
        *gaps.rows(seen, {FAR: [Again(2500.0, 8000.0)]}),
    ]
    return found


def test_an_edge_holds_the_targets_that_calls_have_without_one() -> None:
    found = report()
    row = found.row(SETUP, RELAYED, CONNECTED)
    assert row is not None and row.target is not None
    assert (row.target.bound, row.holds) == (2 * 370 + 15, True)
    trips = found.row(SETUP, RELAYED, f"{CONNECTED}, {TRIPS}")
    assert trips is not None and trips.value == 2.0
    assert all(found.row(SETUP, way.name, stage) for way in WAYS for stage in STAGES)


@pytest.mark.parametrize(("requests", "holds"), [(0, True), (1, False)])
def test_an_edge_may_cost_no_request_before_the_offer(requests: int, holds: bool) -> None:
    found = report(requests_of_edges=requests)
    row = found.row(SETUP, RELAYED, f"{CANDIDATES}, {TRIPS}")
    assert row is not None and row.holds is holds
    turn = found.row(SETUP, TURN, f"{CANDIDATES}, {TRIPS}")
    assert turn is not None and (turn.value, turn.holds) == (2.0, None)


def test_losses_are_means_for_medians_would_hide_them() -> None:
    row = report().row(MEDIA, DIRECT, measures.UP_LOSS)
    assert row is not None and row.value == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("fault", "up_ms", "down_ms"),
    [
        (faults.NONE, None, None),
        (faults.EDGE, 3500, 300),
        (faults.BOTH_LINKS, 3500, 300),
        (faults.LINK, 300, 300),
        (faults.RELAY, 300, 300),
    ],
)
def test_each_fault_has_its_targets_beyond_the_round_trip(
    fault: str, up_ms: float | None, down_ms: float | None
) -> None:
    found = report()
    for source in (FAR, NEAR):
        for metric, ms in ((UP_P99, up_ms), (DOWN_P99, down_ms)):
            row = found.row(fault, source.name, metric)
            assert row is not None
            bound = row.target and row.target.bound - source.round_trip_ms
            assert bound == ms


def test_redis_may_do_no_more_to_calls_than_nothing_does() -> None:
    row = report().row(faults.REDIS, NEAR.name, UP_P99)
    assert row is not None and row.target is not None
    assert (row.target.bound, row.holds) == (2920, True)


def test_calls_that_are_placed_again_have_four_seconds() -> None:
    row = report().row(faults.REGION, FAR.name, f"{TO_AUDIO} p99")
    assert row is not None and row.holds


def test_gaps_count_from_what_came_before_to_what_came_after() -> None:
    up: Sequence[float] = [1000, 1020, 1400, 1420]
    down: Sequence[float] = [1000, 1020, 1040]
    found = Gaps.of(up, down, begin_ms=1010, end_ms=1430)
    assert found.up_ms == pytest.approx(360)
    assert found.down_ms == pytest.approx(370), "what never comes back is silent until the end"


def test_everything_is_shown(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = report()
    text = show.SHEET.markdown(found)
    names = [*(way.name for way in WAYS), *faults.ALL]
    assert all(name in text for name in names)
    assert found.row(faults.NONE, NEAR.name, UP_P50) is not None
    paths = chart.CHART.save(found, tmp_path, title="far")
    assert [path.suffix for path in paths] == [".png", ".svg"]
