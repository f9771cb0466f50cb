"""The fleet that is simulated: the regions of the example, sized by `firsthop plan`.

What the plan buys is so put to the test: if its rules of thumb were wrong, a lost edge or a crowd
would show it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from firsthop.bench import checkout
from firsthop.fleet.model import Fleet, FleetCluster, FleetIngress, Location, kilometres
from firsthop.fleet.view import IngressState, View
from firsthop.plan.demand import Demand
from firsthop.plan.plan import Plan, RegionPlan, plan
from firsthop.plan.regions import read
from firsthop.steering.context import Context
from firsthop.steering.decide import Decision, decide

REGIONS: Final = checkout.SOURCES.parent / "examples" / "plan" / "regions.yaml"
#: Places from which a region's users call, each as many.
CITIES: Final = 5
#: How far around their region, in degrees.
_AROUND: Final = 6.0
#: Light in fibre, in km per ms, and by how much ways are longer than the great circle.
_KM_PER_MS: Final = 200.0
_DETOUR: Final = 1.5
#: Clients that check every 2.5 s as Chromium does; the others do every 5 s. Assumed.
CHROMIUM: Final = 0.8


@dataclass(frozen=True)
class City:
    """A place from which users call."""

    region: int
    context: Context
    share: float
    """Of all users."""


@dataclass(frozen=True)
class World:
    """A planned fleet, and the sessions that it has."""

    plan: Plan
    fleet: Fleet
    cities: tuple[City, ...]
    sessions: int
    city: NDArray[np.intp]
    """Of each session."""

    @property
    def regions(self) -> tuple[RegionPlan, ...]:
        """All of them; ids of ingresses and clusters are their index and 1."""
        return self.plan.regions

    def name(self, id: int) -> str:
        """Return what an ingress or a cluster is called."""
        return self.regions[id - 1].region.name

    def planned(self, region: int, figure: str) -> float:
        """Return a figure of the plan."""
        return self.regions[region].figures[figure].value or 0.0

    def capacity(self, region: int) -> int:
        """Return how many sessions its transceivers take."""
        each = int(self.plan.sessions_each.value or 0)
        return int(self.planned(region, "transceivers")) * each

    def relays(self, region: int) -> int:
        """Return how many relays it has."""
        kinds = ("edge_relays", "cluster_relays")
        return int(sum(self.planned(region, kind) for kind in kinds))

    def decisions(self, lost: frozenset[int] = frozenset()) -> list[Decision]:
        """Return what steering decides for each city, when these ingresses are lost."""
        states = {id_: IngressState(healthy=False) for id_ in lost}
        view = View(self.fleet, {}, states)
        return [decide(city.context, view) for city in self.cities]

    def one_way_ms(self, city: City, id: int) -> float:
        """Return how long a packet takes from a city to an ingress or cluster."""
        assert city.context.location is not None
        return way_ms(city.context.location, self.regions[id - 1].region.location)


def way_ms(one: Location, other: Location) -> float:
    """Return how long a packet takes between two places."""
    return kilometres(one, other) * _DETOUR / _KM_PER_MS


def build(sessions: int, rng: np.random.Generator, regions: Path = REGIONS) -> World:
    """Plan a fleet for so many sessions at peak, and place them."""
    planned = plan(Demand(sessions=sessions), read(regions))
    cities = tuple(_cities(planned, rng))
    shares = np.array([city.share for city in cities])
    placed = rng.choice(len(cities), size=sessions, p=shares / shares.sum())
    return World(planned, _fleet(planned), cities, sessions, placed)


def _cities(planned: Plan, rng: np.random.Generator) -> list[City]:
    made = []
    for number, of in enumerate(planned.regions):
        for north, east in rng.uniform(-_AROUND, _AROUND, (CITIES, 2)):
            latitude = min(89.0, max(-89.0, of.region.location.latitude + north))
            longitude = (of.region.location.longitude + east + 180) % 360 - 180
            context = Context(location=Location(latitude, longitude), source="simulated")
            made.append(City(number, context, of.region.users / CITIES))
    return made


def _fleet(planned: Plan) -> Fleet:
    clusters, ingresses = [], []
    for number, of in enumerate(planned.regions, 1):
        name, location = of.region.name, of.region.location
        address = f"203.0.113.{number}:3478"
        ingresses.append(FleetIngress(id=number, name=name, location=location, udp=(address,)))
        if of.region.cluster:
            network = f"10.{number}.0.0/16"
            clusters.append(
                FleetCluster(id=number, name=name, location=location, networks=(network,))
            )
    return Fleet(clusters=tuple(clusters), ingresses=tuple(ingresses))
