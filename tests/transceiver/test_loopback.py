"""A transceiver that calls itself before others may, and what it says when that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import structlog

from firsthop.telemetry.metrics import Metrics
from firsthop.transceiver.loopback import Loopback, Standing
from firsthop.transceiver.owncall import OwnCallError

Place = Callable[[], Awaitable[float]]


def test_one_good_call_makes_ready_and_two_bad_ones_in_a_row_unready() -> None:
    standing = Standing()
    assert standing.problem == "not tried yet"
    for reason, problem in [
        ("no answer to ICE", "no answer to ICE"),
        (None, None),
        ("no answer to DTLS", None),
        (None, None),
        ("no answer to DTLS", None),
        ("no sound came back", "no sound came back"),
        ("no answer to ICE", "no answer to ICE"),
        (None, None),
    ]:
        standing.note(reason)
        assert standing.problem == problem


def calls(*outcomes: float | str) -> Place:
    """Calls that go as the test says: seconds, or why they failed."""
    left = list(outcomes)

    async def place() -> float:
        outcome = left.pop(0)
        if isinstance(outcome, str):
            raise OwnCallError(outcome)
        return outcome

    return place


async def test_failures_are_told_once_counted_each_and_taken_back() -> None:
    metrics = Metrics()
    loopback = Loopback(calls("no ICE", "no ICE", 0.05, "no DTLS", 0.06), metrics)
    assert loopback.problem == "loopback: not tried yet"
    with structlog.testing.capture_logs() as logged:
        went = [await loopback.check() for _ in range(5)]
    assert went == [False, False, True, False, True]
    assert [(line["event"], line.get("reason")) for line in logged] == [
        ("loopback.failed", "no ICE"),
        ("loopback.back", None),
    ]
    assert loopback.problem is None
    told = metrics.render()
    assert b"firsthop_transceiver_loopback_failures_total 3.0" in told
    assert b"firsthop_transceiver_loopback_seconds 0.06" in told


async def test_a_first_call_that_goes_well_is_no_news() -> None:
    with structlog.testing.capture_logs() as logged:
        assert await Loopback(calls(0.05), Metrics()).check()
    assert logged == []


@pytest.fixture
async def waits(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[float]]:
    """How long was waited between calls; nobody does wait."""
    waited: list[float] = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        waited.append(seconds)
        await sleep(0)

    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "sleep", note)
        yield waited


async def test_after_a_failure_it_is_tried_again_sooner(waits: list[float]) -> None:
    done = asyncio.Event()
    place = calls("no ICE", 0.05, 0.05, "no ICE")

    async def until_done() -> float:
        if len(waits) == 4:
            done.set()
            await asyncio.Event().wait()
        return await place()

    loopback = Loopback(until_done, Metrics())
    loopback.start()
    await done.wait()
    await loopback.stop()
    await loopback.stop()
    assert waits == [1.0, 10.0, 10.0, 1.0]
