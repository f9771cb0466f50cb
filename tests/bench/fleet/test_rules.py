"""The simulation goes by the numbers of what it simulates."""

from __future__ import annotations

import re

from firsthop.bench.fleet import lookups as simulated
from firsthop.relay import lookups
from plan.page import ROOT

PARKING = (ROOT / "crates" / "firsthop-relay" / "src" / "parking.rs").read_text()


def parking(name: str) -> int:
    """Return the number that a constant of the relay's parking is made of."""
    [value] = re.findall(rf"^const {name}: .*?(\d+)\)?;", PARKING, re.MULTILINE)
    return int(value)


def test_as_many_look_ups_wait_as_at_a_relay() -> None:
    assert simulated.WAITING == lookups._BATCH * (lookups._BATCHES + 1)


def test_packets_wait_as_long_and_as_many_as_at_a_relay() -> None:
    assert parking("MAX_WAITING") == simulated.LOTS
    assert parking("WAIT") == simulated.WAIT_MS
