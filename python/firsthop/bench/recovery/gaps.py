"""What a log of packets says of calls: for how long each was silent, and what it lost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from firsthop.bench.recovery.packets import PACING_NS

#: Packets that were sent later than so long before the end may still be on their way.
ON_THEIR_WAY_NS = 200_000_000

Packets = Iterable[tuple[int, int, int]]
"""(call, number, Unix time in ns)."""


def longest_gap_ms(seen_ns: Iterable[int], begin_ns: int, end_ns: int) -> float:
    """Return the longest silence between two moments, beyond the pacing of 20 ms.

    Both moments count as if packets had come then: a call that never comes back is silent until
    the end.
    """
    within = sorted(at for at in seen_ns if begin_ns < at < end_ns)
    silences = (after - before for before, after in pairwise([begin_ns, *within, end_ns]))
    return max(0, max(silences) - PACING_NS) / 1e6


def gaps_ms(seen: Packets, calls: Iterable[int], begin_ns: int, end_ns: int) -> list[float]:
    """Return the longest gap of each call."""
    by_call: dict[int, list[int]] = {call: [] for call in calls}
    for call, _, at in seen:
        if call in by_call:
            by_call[call].append(at)
    return [longest_gap_ms(times, begin_ns, end_ns) for times in by_call.values()]


def losses(
    sent: Packets, seen: Packets, calls: Iterable[int], begin_ns: int, end_ns: int
) -> tuple[int, int]:
    """Return how many packets of these calls were never seen, and how many were sent.

    Counts what was sent between the two moments and early enough to have arrived.
    """
    wanted = set(calls)
    latest = end_ns - ON_THEIR_WAY_NS
    due = {(call, number) for call, number, at in sent if call in wanted and begin_ns < at < latest}
    return len(due - {(call, number) for call, number, _ in seen}), len(due)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least `percent` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]
