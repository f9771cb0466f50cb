"""One relay of a cluster fails: which flows do edges send elsewhere?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from firsthop.bench.fleet import hashing

COUNTS: Final = (2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Choice:
    """What it did, in a cluster of so many relays; shares are of all flows."""

    relays: int
    moved: float
    needlessly: float
    """Of flows whose relay did not fail."""
    most: float
    """Flows of the busiest relay, to the mean; before."""
    most_after: float


def choices(flows: int, rng: np.random.Generator) -> Iterator[Choice]:
    """Yield what the loss of one does in clusters of several sizes."""
    of_flows = hashing.hashes(rng, flows)
    for count in COUNTS:
        weights = hashing.hashes(rng, count)
        alive = np.ones(count, dtype=np.bool_)
        before = hashing.by_slot(of_flows, hashing.slots(weights, alive))
        lost = int(rng.integers(count))
        alive[lost] = False
        after = hashing.by_slot(of_flows, hashing.slots(weights, alive))
        moved = before != after
        yield Choice(
            count,
            float(moved.mean()),
            float((moved & (before != lost)).mean()),
            _most(before, count, flows, count),
            _most(after, count, flows, count - 1),
        )


def _most(relays: hashing.Relays, count: int, flows: int, alive: int) -> float:
    return float(np.bincount(relays, minlength=count).max() * alive / flows)
