"""Who enters where, and is served where: each time one region is lost, and when none is.

The nearest ingress and the nearest cluster that are left are taken, as steering does while they
have room. So a region needs what its neighbours' users need beside its own; that is the most that
steering asks of it, for it spreads what one region cannot hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from firsthop.fleet.model import kilometres
from firsthop.plan.regions import Region, Regions


@dataclass(frozen=True)
class Share:
    """Of all sessions, what one region has to do with; each from 0 to 1."""

    here: float
    """Entering here, served here."""
    out: float
    """Entering here, served elsewhere."""
    into: float
    """Served here, entering elsewhere."""
    second: float
    """Having their second candidate here: nothing but checks comes."""

    @property
    def entering(self) -> float:
        """Having their first candidate here."""
        return self.here + self.out

    @property
    def served(self) -> float:
        """Having their transceiver here."""
        return self.here + self.into


@dataclass(frozen=True)
class Scenario:
    """What becomes of the load."""

    lost: str | None
    """The region that is."""
    shares: dict[str, Share]
    """By region; those that are lost are left out."""


def scenarios(regions: Regions) -> Iterator[Scenario]:
    """Yield what is when all regions are there, then what is when each is lost, if it may be."""
    yield _scenario(regions, None)
    if regions.headroom.lose_a_region:
        for region in regions.regions:
            yield _scenario(regions, region)


def by_distance(of: Region, among: Sequence[Region]) -> list[Region]:
    """Return regions, the nearest first; of two equally near, the one that is named first."""
    return sorted(among, key=lambda region: kilometres(of.location, region.location))


def _scenario(regions: Regions, lost: Region | None) -> Scenario:
    left = [region for region in regions.regions if region is not lost]
    clusters = [region for region in left if region.cluster]
    here, out, into, second = ({region.name: 0.0 for region in left} for _ in range(4))
    for users in regions.regions:
        ingresses = by_distance(users, left)
        cluster = by_distance(users, clusters)[0]
        if ingresses[0] is cluster:
            here[cluster.name] += users.users
        else:
            out[ingresses[0].name] += users.users
            into[cluster.name] += users.users
        if regions.sizes.candidates > 1 and len(ingresses) > 1:
            second[ingresses[1].name] += users.users
    return Scenario(
        None if lost is None else lost.name,
        {
            name: Share(here[name], out[name], into[name], second[name])
            for name in (region.name for region in left)
        },
    )
