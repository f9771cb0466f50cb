"""All relays of one ingress are lost at once: for how long its calls are silent, and who gets them.

With a second candidate, the transceiver is told that the edge is lost and sends by the other path
at once; the client finds out by its own clock. Without one, the client notices, and calls again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from firsthop.bench.fleet.draws import CHECK_MS, PACKET_MS, SLOW_CHECK_MS, Floats
from firsthop.bench.fleet.world import CHROMIUM, City, World, way_ms
from firsthop.plan.measurements import shipped
from firsthop.steering.decide import Decision

#: As in ``firsthop-relay``: an edge probes so often, and is lost when silent for so long.
_PROBE_MS: Final = 50.0
_SILENCE_MS: Final = 200.0
#: How long a client hesitates to leave a pair that is silent for one of its checks. Assumed.
_HESITATES_MS: Final = 1000.0
#: When a client tells its page, and the page calls again.
_NOTICES_MS: Final = shipped().value("notices") * 1000
#: Round trips from the POST until media flows: the answer's, and two from there on.
_ROUND_TRIPS: Final = 3


@dataclass(frozen=True)
class EdgeLoss:
    """What the loss of one ingress did."""

    lost: str
    sessions: int
    """That entered there."""
    all_sessions: int
    slow: NDArray[np.bool_]
    """Of those that entered there, whose clients check every 5 s."""
    down_ms: Floats
    """Silence of the agent, with a second candidate."""
    up_ms: Floats
    """Silence of the caller, with a second candidate."""
    again_ms: Floats
    """Silence both ways without one: the client calls again."""
    offers: float
    """Per second at most, of those who call again."""
    offers_before: float
    """Per second, when nothing is lost."""
    before: dict[str, float]
    """By ingress: its sessions, to those for which it was planned."""
    after: dict[str, float]


def edge_loss(world: World, rng: np.random.Generator) -> EdgeLoss:
    """Lose the ingress by which most sessions enter."""
    before = world.decisions()
    first = np.array([decision.ingresses[0] for decision in before])
    counts = np.bincount(first[world.city], minlength=len(world.regions) + 1)
    lost = int(counts.argmax())
    after = world.decisions(lost=frozenset({lost}))
    moved = np.array([decision.ingresses[0] for decision in after])
    hit = world.city[first[world.city] == lost]
    slow = rng.random(len(hit)) >= CHROMIUM
    ways = [_ways(world, *of) for of in zip(world.cities, before, after, strict=True)]
    second_ms, round_ms = (np.array(of) for of in zip(*ways, strict=True))
    again = _NOTICES_MS + rng.random(len(hit)) * CHECK_MS + _ROUND_TRIPS * round_ms[hit]
    return EdgeLoss(
        lost=world.name(lost),
        sessions=len(hit),
        all_sessions=world.sessions,
        slow=slow,
        down_ms=_down(rng, second_ms[hit]),
        up_ms=np.where(slow, SLOW_CHECK_MS, CHECK_MS) + rng.random(len(hit)) * _HESITATES_MS,
        again_ms=again,
        offers=_busiest_second(again - _ROUND_TRIPS * round_ms[hit]),
        offers_before=world.plan.whole["entering_offers"].value or 0.0,
        before=_filled(world, counts),
        after=_filled(world, np.bincount(moved[world.city], minlength=len(counts))),
    )


def _ways(world: World, city: City, before: Decision, after: Decision) -> tuple[float, float]:
    """Return what the other way adds to a packet down, and the round trip by it, in ms."""
    assert before.cluster is not None
    home = world.regions[before.cluster - 1].region.location
    old, new = before.ingresses[0], after.ingresses[0]
    to_old = way_ms(home, world.regions[old - 1].region.location)
    to_new = way_ms(home, world.regions[new - 1].region.location)
    by_new = to_new + world.one_way_ms(city, new)
    # What the edge had passed on still arrives; what was on its way to it is lost.
    return to_old + by_new - world.one_way_ms(city, old), 2 * by_new


def _down(rng: np.random.Generator, added_ms: Floats) -> Floats:
    """A cluster relay notes the edge's silence, and the transceiver's next packet is told of it."""
    since_probe = rng.random(len(added_ms)) * _PROBE_MS
    until_packet = rng.random(len(added_ms)) * PACKET_MS
    gaps: Floats = _SILENCE_MS - since_probe + until_packet + added_ms
    return gaps


def _busiest_second(moments_ms: Floats) -> float:
    return float(np.bincount((moments_ms / 1000).astype(np.intp)).max())


def _filled(world: World, counts: NDArray[np.intp]) -> dict[str, float]:
    """Return how full each ingress is, of what it was planned for."""
    return {
        of.region.name: float(counts[number + 1]) / world.planned(number, "entering")
        for number, of in enumerate(world.regions)
    }
