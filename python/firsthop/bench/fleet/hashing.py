"""How flows are spread over relays: by routers, and by an edge over the relays of a cluster.

A slot belongs to the relay that ranks highest there among those alive (rendezvous hashing); a flow
belongs to the slot that its keyed hash names. This is the rule of ``firsthop-relay``'s
``next_hops.rs``, for arrays; in the place of keyed hashes stand random numbers.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

SLOTS: Final = 1024

Hashes = NDArray[np.uint64]
Relays = NDArray[np.intp]


def hashes(rng: np.random.Generator, count: int) -> Hashes:
    """Return so many hashes, of flows or of relays' addresses."""
    return rng.integers(0, 2**64, count, dtype=np.uint64)


def slots(weights: Hashes, alive: NDArray[np.bool_]) -> Relays:
    """Return the relay of each slot: an index into `weights`, of one that is alive if any is."""
    usable = alive if alive.any() else np.ones_like(alive)
    with np.errstate(over="ignore"):
        steps = np.arange(SLOTS, dtype=np.uint64) * np.uint64(0x9E37_79B9_7F4A_7C15)
        ranks = mixed(weights[:, None] ^ steps[None, :])
    ranks[~usable] = 0
    best: Relays = ranks.argmax(axis=0)
    return best


def by_slot(flows: Hashes, of_slot: Relays) -> Relays:
    """Return the relay of each flow."""
    relays: Relays = of_slot[(flows >> np.uint64(32)) % np.uint64(SLOTS)]
    return relays


def by_remainder(flows: Hashes, relays: int) -> Relays:
    """Return the relay of each flow, as routers do that know nothing of who it was before."""
    return (flows % np.uint64(relays)).astype(np.intp)


def mixed(values: Hashes) -> Hashes:
    """SplitMix64's finish (Steele, Lea and Flood, 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    finished: Hashes = values ^ (values >> np.uint64(31))
    return finished
