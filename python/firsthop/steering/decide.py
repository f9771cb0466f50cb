"""The decision: which cluster serves a client, and by which ingress points.

A pure function of the client's context and of the state of the fleet. What the fleet's state says
may be old or wrong, so it orders the choices and takes away only those that are full.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from firsthop.fleet.model import FleetCluster, FleetIngress, Location, kilometres
from firsthop.fleet.view import View
from firsthop.steering.context import Context

#: How many ingress points an answer names: the nearest, and one to fall back on.
_INGRESSES = 2


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided."""

    cluster: int | None
    """Who serves the client; None: there is no room anywhere."""
    ingresses: tuple[int, ...]
    """By which points its media goes, most preferred first; no two are the same."""
    reasons: tuple[str, ...]
    """Why, in short sentences."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """A cluster or an ingress as the decision sees it."""

    id: int
    name: str
    kilometres: float | None
    """From the client; of an ingress, from the cluster if nobody knows where the client is."""
    healthy: bool
    """Whether it answers, as far as is known."""
    room: float = math.inf
    """Sessions that it still takes, as far as is known."""
    problem: str | None = None
    """Why others go before it, in a word or two."""

    @property
    def far(self) -> str:
        """How far it is, for people."""
        return "" if self.kilometres is None else f", {self.kilometres:.0f} km"

    @property
    def title(self) -> str:
        """Its id and its name, for people."""
        return f"{self.id} ({self.name})"


def decide(
    context: Context,
    view: View,
    cluster: int | None = None,
    *,
    without: Collection[int] = (),
) -> Decision:
    """Choose the cluster and the ingress points of a client.

    Args:
        context: Where the client is.
        view: The fleet and its state.
        cluster: Fixes the cluster, whatever its state; None chooses one.
        without: Clusters that are out of the question.
    """
    if cluster is not None:
        ingresses, reasons = _ingresses(context, view, cluster)
        return Decision(cluster, ingresses, (f"cluster {cluster} has the call", *reasons))
    weighed = [one for one in weigh_clusters(context, view) if one.id not in without]
    free = [one for one in weighed if one.room > 0]
    if not free:
        reason = "no cluster has room" if weighed else "there is no cluster to try"
        return Decision(None, (), (reason,))
    chosen = free[0]
    ingresses, reasons = _ingresses(context, view, chosen.id)
    return Decision(chosen.id, ingresses, (_why(chosen), *_nearer(chosen, weighed), *reasons))


def weigh_clusters(context: Context, view: View) -> list[Weighed]:
    """Return all clusters, best first; those that take no more calls have no room."""
    weighed = [_cluster(one, view, context.location) for one in view.fleet.clusters]

    def rank(one: Weighed) -> tuple[bool, bool, float, int]:
        first = -one.room if one.kilometres is None else one.kilometres
        return one.room <= 0, not one.healthy, first, one.id

    return sorted(weighed, key=rank)


def weigh_ingresses(context: Context, view: View, cluster: int) -> list[Weighed]:
    """Return the ingress points that reach a cluster, best first."""
    home = view.fleet.cluster(cluster)
    # Where nobody knows the client, the way that we do know may as well be short.
    place = context.location or (None if home is None else home.location)
    reaching = (one for one in view.fleet.ingresses if one.reaches(cluster))
    weighed = [_ingress(one, view, place) for one in reaching]
    return sorted(weighed, key=lambda one: (not one.healthy, one.kilometres or 0.0, one.id))


def _cluster(cluster: FleetCluster, view: View, place: Location | None) -> Weighed:
    state = view.cluster(cluster.id)
    capacity = cluster.capacity if state.capacity is None else state.capacity
    room = math.inf
    if capacity is not None and state.sessions is not None:
        room = max(0, capacity - state.sessions)
    problem = None
    if state.draining:
        room, problem = 0, "drains"
    elif room <= 0:
        problem = "full"
    elif not state.healthy:
        problem = "not healthy"
    far = None if place is None else kilometres(place, cluster.location)
    return Weighed(cluster.id, cluster.name, far, state.healthy, room, problem)


def _ingress(ingress: FleetIngress, view: View, place: Location | None) -> Weighed:
    healthy = view.ingress(ingress.id).healthy
    far = None if place is None else kilometres(place, ingress.location)
    problem = None if healthy else "not healthy"
    return Weighed(ingress.id, ingress.name, far, healthy, problem=problem)


def _why(chosen: Weighed) -> str:
    located = chosen.kilometres is not None
    how = "nearest with room" if located else "most room; nobody knows where the client is"
    if not chosen.healthy:
        how = f"not healthy, but no healthy one has room; {how}"
    return f"cluster {chosen.title}: {how}{chosen.far}"


def _nearer(chosen: Weighed, weighed: list[Weighed]) -> list[str]:
    """Why clusters that are nearer were not chosen."""
    far = chosen.kilometres
    return [
        f"cluster {one.title}: nearer, but {one.problem}{one.far}"
        for one in weighed
        if far is not None and one.kilometres is not None and one.kilometres < far
    ]


def _ingresses(context: Context, view: View, cluster: int) -> tuple[tuple[int, ...], list[str]]:
    weighed = weigh_ingresses(context, view, cluster)
    if not weighed:
        return (), [f"no ingress reaches cluster {cluster}"]
    healthy = [one for one in weighed if one.healthy]
    chosen = (healthy or weighed)[:_INGRESSES]
    to = "the client" if context.location is not None else "the cluster"
    words = (f"nearest to {to}", "second")
    reasons = [
        f"ingress {one.title}: {word}{one.far}" for one, word in zip(chosen, words, strict=False)
    ]
    if not healthy:
        reasons.append("no ingress is healthy, as far as is known")
    return tuple(one.id for one in chosen), reasons
