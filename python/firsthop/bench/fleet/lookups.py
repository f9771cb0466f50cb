"""Flows that relays do not know ask the flow cache, all at once: what each relay can answer.

A relay has one thread for it (``relay/lookups.py``): so many look-ups wait, what comes beyond gets
no answer and asks again. Packets wait meanwhile (``parking.rs``): up to a number of flows per
worker, for 50 ms.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from firsthop.bench.fleet.draws import PACKET_MS, Floats, looked_up
from firsthop.plan.measurements import shipped

#: Look-ups that wait at a relay, beside those under way: as in ``relay/lookups.py``.
WAITING: Final = 3 * 64
#: Flows that wait per worker, and for how long: as in ``parking.rs``.
LOTS: Final = 1024
WAIT_MS: Final = 50
#: Look-ups that a relay's Python gets through in a millisecond: as dear as reports.
_PER_MS: Final = 1000 / shipped().value("relay_report")
#: Nothing takes longer; what does is cut off, and shows.
_END_MS: Final = 10_000


@dataclass(frozen=True)
class Asked:
    """What became of flows that had to be looked up."""

    gaps_ms: Floats
    """Of each flow."""
    rate: float
    """Look-ups per second that were wanted of the busiest relay, over 20 ms."""
    parked: int
    """Packets that waited at the busiest relay, at most."""


def ask(rng: np.random.Generator, relay: NDArray[np.intp], relays: int, workers: int) -> Asked:
    """Have flows looked up, each at its relay, from its next packet on."""
    count = len(relay)
    first = rng.random(count) * PACKET_MS
    gaps = np.full(count, float(_END_MS))
    due: dict[int, list[NDArray[np.intp]]] = defaultdict(list)
    start = first.astype(np.intp)
    for tick in range(int(PACKET_MS)):
        due[tick].append(np.flatnonzero(start == tick))
    crowd = _Crowd(relays, workers)
    while due:
        tick = min(due)
        flows = np.concatenate(due.pop(tick))
        flows = rng.permutation(flows)
        waits, later = crowd.take(tick, relay[flows])
        served = ~np.isnan(waits)
        answered = tick - first[flows[served]] + waits[served]
        gaps[flows[served]] = np.maximum(0, answered) + looked_up(rng, int(served.sum()))
        for delay in np.unique(later[~served]):
            if tick + delay < _END_MS:
                due[tick + int(delay)].append(flows[~served & (later == delay)])
    first_round = np.bincount(relay, minlength=1).max() if count else 0
    return Asked(gaps, float(first_round) * 1000 / PACKET_MS, crowd.most_parked)


class _Crowd:
    """All relays, a millisecond at a time."""

    def __init__(self, relays: int, workers: int) -> None:
        self._relays = relays
        self._room = workers * LOTS
        self._queue = np.zeros(relays)
        self._now = 0
        #: By millisecond: by how much what waits at each relay changes.
        self._lots: dict[int, NDArray[np.float64]] = {}
        self._packets: dict[int, NDArray[np.float64]] = {}
        self._lots_now = np.zeros(relays)
        self._packets_now = np.zeros(relays)
        self.most_parked = 0

    def take(
        self, tick: int, relay: NDArray[np.intp]
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Return how long each flow waits for its turn, NaN if in vain, and when it asks again."""
        self._pass(tick)
        rank = _rank(relay, self._relays)
        parked = rank < (self._room - self._lots_now)[relay]
        accepted = parked & (rank < np.floor(WAITING - self._queue)[relay])
        waits = np.where(accepted, (self._queue[relay] + rank) / _PER_MS, np.nan)
        again = -(-WAIT_MS // int(PACKET_MS)) * int(PACKET_MS)
        later = np.where(parked, again, int(PACKET_MS))
        self._queue += self._count(relay[accepted])
        in_vain = self._count(relay[parked & ~accepted])
        self._wait(tick, self._count(relay[accepted]), int(WAITING / _PER_MS) + 1)
        self._wait(tick, in_vain, WAIT_MS)
        # More packets of those in vain come while they wait.
        for more in range(int(PACKET_MS), WAIT_MS, int(PACKET_MS)):
            self._change(self._packets, tick + more, in_vain)
            self._change(self._packets, tick + WAIT_MS, -in_vain)
        self.most_parked = max(self.most_parked, int(self._packets_now.max(initial=0)))
        return waits, later

    def _pass(self, tick: int) -> None:
        for now in range(self._now + 1, tick + 1):
            self._queue = np.maximum(0, self._queue - _PER_MS)
            self._lots_now = self._lots_now + self._lots.pop(now, 0)
            self._packets_now = self._packets_now + self._packets.pop(now, 0)
        self._now = tick

    def _wait(self, tick: int, count: NDArray[np.float64], until: int) -> None:
        self._lots_now = self._lots_now + count
        self._packets_now = self._packets_now + count
        self._change(self._lots, tick + until, -count)
        self._change(self._packets, tick + until, -count)

    def _change(
        self, of: dict[int, NDArray[np.float64]], tick: int, by: NDArray[np.float64]
    ) -> None:
        of[tick] = of.get(tick, np.zeros(self._relays)) + by

    def _count(self, relay: NDArray[np.intp]) -> NDArray[np.float64]:
        return np.bincount(relay, minlength=self._relays).astype(np.float64)


def _rank(relay: NDArray[np.intp], relays: int) -> NDArray[np.intp]:
    """Return the place of each flow among those of its relay, in the order in which they stand."""
    order = np.argsort(relay, kind="stable")
    starts = np.concatenate(([0], np.cumsum(np.bincount(relay, minlength=relays))[:-1]))
    rank = np.empty(len(relay), dtype=np.intp)
    rank[order] = np.arange(len(relay)) - starts[relay[order]]
    return rank
