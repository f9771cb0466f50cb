"""A relay is added to each site, or lost at each: whose flows move, and for how long they are lost.

Routers spread clients over the relays of a site. Some keep all others in place when one comes or
goes (resilient hashing); some take the remainder of a hash, and nearly all flows move.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from firsthop.bench.fleet import hashing
from firsthop.bench.fleet.draws import Floats, next_check
from firsthop.bench.fleet.lookups import Asked, ask
from firsthop.bench.fleet.world import CHROMIUM, World

Change = Literal["added", "lost"]
Router = Literal["resilient", "remainder"]
CHANGES: Final[tuple[Change, ...]] = ("added", "lost")
ROUTERS: Final[tuple[Router, ...]] = ("resilient", "remainder")


@dataclass(frozen=True)
class Rehash:
    """What one change at all sites did."""

    change: Change
    router: Router
    moved: float
    """Share of all flows."""
    by_site: dict[str, tuple[int, float]]
    """By name: relays before, and the share that moved."""
    asked: Asked
    """With a flow cache: the flows of all sites, each at its relay."""
    chromium_ms: Floats
    """Without: the silence of clients that check every 2.5 s."""
    slow_ms: Floats
    """And of those that check every 5 s."""


def rehashes(world: World, rng: np.random.Generator) -> Iterator[Rehash]:
    """Yield what each change does behind each kind of router."""
    ingress = np.array([decision.ingresses[0] for decision in world.decisions()])[world.city]
    flows = hashing.hashes(rng, world.sessions)
    slow = rng.random(world.sessions) >= CHROMIUM
    for change in CHANGES:
        for router in ROUTERS:
            yield _one(world, rng, ingress, flows, slow, change, router)


def _one(
    world: World,
    rng: np.random.Generator,
    ingress: NDArray[np.intp],
    flows: hashing.Hashes,
    slow: NDArray[np.bool_],
    change: Change,
    router: Router,
) -> Rehash:
    by_site, moved_to, moved_slow, relays = {}, [], [], 0
    for region, of in enumerate(world.regions):
        here = np.flatnonzero(ingress == region + 1)
        count = world.relays(region)
        before, after = _spread(rng, flows[here], count, change, router)
        moved = before != after
        by_site[of.region.name] = (count, float(moved.mean()) if len(here) else 0.0)
        moved_to.append(after[moved] + relays)
        moved_slow.append(slow[here][moved])
        relays += count + 1
    to, by_slow = np.concatenate(moved_to), np.concatenate(moved_slow)
    workers = int(world.plan.basis["relay_cores"].value or 1)
    checks = next_check(rng, by_slow)
    return Rehash(
        change,
        router,
        len(to) / world.sessions,
        by_site,
        ask(rng, to, relays, workers),
        checks[~by_slow],
        checks[by_slow],
    )


def _spread(
    rng: np.random.Generator,
    flows: hashing.Hashes,
    count: int,
    change: Change,
    router: Router,
) -> tuple[hashing.Relays, hashing.Relays]:
    """Return each flow's relay before and after; one that is lost is the last of them."""
    fewer, more = (count, count + 1) if change == "added" else (count - 1, count)
    if router == "remainder":
        small, large = hashing.by_remainder(flows, fewer), hashing.by_remainder(flows, more)
    else:
        weights = hashing.hashes(rng, more)
        alive = np.arange(more) < fewer
        small = hashing.by_slot(flows, hashing.slots(weights, alive))
        large = hashing.by_slot(flows, hashing.slots(weights, np.ones(more, dtype=np.bool_)))
    return (small, large) if change == "added" else (large, small)
