"""Waiting for relays to have nothing to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.test_rounds import Fake
from firsthop.bench import contender
from firsthop.bench.contender import free_endpoint, owners, settle


class Busy(Fake):
    """Takes so much CPU time, in nanoseconds, between one look and the next."""

    def __init__(self, *steps: int) -> None:
        super().__init__("busy")
        self._steps = list(steps)
        self._total = 0

    def cpu_ns(self) -> int:
        self._total += self._steps.pop(0) if self._steps else 0
        return self._total


def test_a_relay_that_calms_down_is_waited_for() -> None:
    # Two looks are one measurement: the second step of each counts.
    relay = Busy(0, 10**12, 0, 10**12, 0, 0)
    assert settle([relay], 0.001) == []
    assert relay.idle_ns == 0


def test_a_relay_that_never_calms_down_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contender, "_SETTLE_SECONDS", 0)
    relay = Busy(0, 10**12)
    assert settle([relay], 0.001) == [relay]
    assert relay.idle_ns > 0


def test_no_two_endpoints_are_the_same() -> None:
    endpoints = [free_endpoint() for _ in range(5)] + owners(10)
    assert len(set(endpoints)) == 15


def test_a_relay_that_was_not_started_can_be_stopped() -> None:
    Fake("a").stop()
    assert Fake("a").log.parent == Path("/nowhere")
