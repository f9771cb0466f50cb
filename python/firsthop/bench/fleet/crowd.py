"""Ten times the offers for a minute: which clusters fill, where callers are sent, who is refused.

Every decision is `firsthop.steering.decide.decide`, on the fleet as it was reported a second ago. A
cluster that is full refuses, and the gateway tries the next best (``without``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from firsthop.bench.fleet.draws import Floats
from firsthop.bench.fleet.world import City, World
from firsthop.fleet.view import ClusterState, View
from firsthop.steering.decide import decide

TIMES: Final = 10
BEGINS: Final = 30
LASTS: Final = 60
SECONDS: Final = 180
#: Turns of a second: a cluster that fills refuses from then on, not from the next second.
_TURNS: Final = 4


@dataclass(frozen=True)
class Crowd:
    """What a crowd did, second by second."""

    where: str
    """Whose offers are so many: everywhere, or a region's name."""
    clusters: tuple[str, ...]
    filled: Floats
    """Sessions of each cluster to its capacity, by cluster and second."""
    offers: Floats
    """By second."""
    refused: Floats
    """By second: there was no room anywhere."""
    elsewhere: Floats
    """By second: served by another cluster than the nearest."""
    tried_twice: Floats
    """By second: refused by the cluster that was chosen, and taken or refused by another."""
    guests: Floats
    """By cluster: the share of calls taken during the crowd that were nearer to another."""

    @property
    def refused_share(self) -> float:
        """Of the offers while the crowd lasts and after."""
        return float(self.refused[BEGINS:].sum() / self.offers[BEGINS:].sum())

    def elsewhere_share(self) -> float:
        """Of those that were taken while the crowd lasted."""
        during = slice(BEGINS, BEGINS + LASTS)
        taken = self.offers[during].sum() - self.refused[during].sum()
        return float(self.elsewhere[during].sum() / taken)

    def full_after(self) -> dict[str, int]:
        """Return after how many seconds of the crowd each cluster that fills is full."""
        full = self.filled >= 1
        return {
            name: int(full[at].argmax()) - BEGINS
            for at, name in enumerate(self.clusters)
            if full[at].any()
        }


def crowd(world: World, rng: np.random.Generator, region: int | None) -> Crowd:
    """Have one region's users call ten times as often, or everybody's."""
    return _Run(world, rng, region).run()


class _Run:
    def __init__(self, world: World, rng: np.random.Generator, region: int | None) -> None:
        self._world = world
        self._rng = rng
        self._region = region
        self._ids = [cluster.id for cluster in world.fleet.clusters]
        self._capacity = {id_: world.capacity(id_ - 1) for id_ in self._ids}
        self._nearest = [decision.cluster for decision in world.decisions()]
        served = np.bincount(
            np.array(self._nearest, dtype=np.intp)[world.city], minlength=max(self._ids) + 1
        )
        self._sessions = {id_: int(served[id_]) for id_ in self._ids}
        self._call_s = (world.plan.basis["call_minutes"].value or 0.0) * 60
        self._offers = np.zeros(SECONDS)
        self._refused = np.zeros(SECONDS)
        self._elsewhere = np.zeros(SECONDS)
        self._again = np.zeros(SECONDS)
        self._taken = dict.fromkeys(self._ids, 0)
        self._guests = dict.fromkeys(self._ids, 0)
        #: Decisions of a second, by city and the clusters that refused.
        self._decided: dict[tuple[int, tuple[int, ...]], int | None] = {}

    def run(self) -> Crowd:
        filled = np.zeros((len(self._ids), SECONDS))
        for second in range(SECONDS):
            view = self._view()
            self._decided.clear()
            for id_ in self._ids:
                ended = self._rng.binomial(self._sessions[id_], 1 / self._call_s)
                self._sessions[id_] -= int(ended)
            for _ in range(_TURNS):
                for number in self._rng.permutation(len(self._world.cities)):
                    self._call(int(number), second, view)
            filled[:, second] = [self._sessions[id_] / self._capacity[id_] for id_ in self._ids]
        return Crowd(
            "everywhere" if self._region is None else self._world.name(self._region + 1),
            tuple(self._world.name(id_) for id_ in self._ids),
            filled,
            self._offers,
            self._refused,
            self._elsewhere,
            self._again,
            np.array([self._guests[id_] / max(1, self._taken[id_]) for id_ in self._ids]),
        )

    def _view(self) -> View:
        states = {
            id_: ClusterState(sessions=self._sessions[id_], capacity=self._capacity[id_])
            for id_ in self._ids
        }
        return View(self._world.fleet, states)

    def _call(self, number: int, second: int, view: View) -> None:
        """Have a city's users call, for a turn; who is refused tries the next best cluster."""
        rate = self._rate(self._world.cities[number], second)
        left = int(self._rng.poisson(rate / _TURNS))
        self._offers[second] += left
        without: list[int] = []
        while left:
            chosen = self._decide(number, view, tuple(without))
            if chosen is None:
                self._refused[second] += left
                return
            taken = max(0, min(left, self._capacity[chosen] - self._sessions[chosen]))
            left -= taken
            self._take(chosen, taken, second, guests=chosen != self._nearest[number])
            if left:
                self._again[second] += left
                without.append(chosen)

    def _decide(self, number: int, view: View, without: tuple[int, ...]) -> int | None:
        """Ask steering, once for all callers of a city to whom it would say the same."""
        asked = (number, without)
        if asked not in self._decided:
            context = self._world.cities[number].context
            self._decided[asked] = decide(context, view, without=without).cluster
        return self._decided[asked]

    def _take(self, cluster: int, calls: int, second: int, *, guests: bool) -> None:
        self._sessions[cluster] += calls
        self._elsewhere[second] += calls if guests else 0
        if BEGINS <= second < BEGINS + LASTS:
            self._taken[cluster] += calls
            self._guests[cluster] += calls if guests else 0

    def _rate(self, city: City, second: int) -> float:
        usual = self._world.sessions * city.share / self._call_s
        called = self._region is None or city.region == self._region
        return usual * (TIMES if called and BEGINS <= second < BEGINS + LASTS else 1)
