"""Calls as they were seen, made up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from firsthop.bench.media.seen import Seen

BINS = 2_000


def gaps(**counts: int) -> list[int]:
    """Count gaps by their length, as ``ms20=99``."""
    bins = [0] * BINS
    for name, count in counts.items():
        bins[int(name.removeprefix("ms")) * 4] = count
    return bins


GOOD = Seen(
    sessions=10,
    connected=10,
    seconds=2.0,
    cpu_s=0.1,
    sent=1_000,
    received=1_000,
    lost=0,
    late=0,
    gaps=gaps(ms20=1_000),
    delays_ms=[20.0, 21.0, 30.0],
    resident_bytes=50_000_000,
)


def many(sessions: int, **changes: Any) -> Seen:
    """So many of the same."""
    packets = sessions * 100
    share = {"cpu_s": sessions * 0.01, "sent": packets, "received": packets}
    there = {"sessions": sessions, "connected": sessions}
    return replace(GOOD, **(there | share | changes))
