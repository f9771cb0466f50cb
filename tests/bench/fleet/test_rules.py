"""The simulation goes by the numbers of what it simulates."""

from __future__ import annotations

import re

from firsthop.bench.fleet import edge, hashing
from firsthop.bench.fleet import lookups as simulated
from firsthop.relay import lookups
from plan.page import ROOT

NEXT_HOPS = (ROOT / "crates" / "firsthop-relay" / "src" / "next_hops.rs").read_text()
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


def test_flows_have_as_many_slots_and_relays_as_long_to_answer_as_at_an_edge() -> None:
    assert f"const SLOTS: usize = {hashing.SLOTS};" in NEXT_HOPS
    silence = f"const SILENCE: Duration = Duration::from_millis({edge._SILENCE_MS:.0f});"
    assert silence in NEXT_HOPS
