"""The fleet as it is seen from here, at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from firsthop.fleet.entrance import Entrance, entrances
from firsthop.fleet.model import Fleet, FleetCluster


@dataclass(frozen=True, slots=True)
class ClusterState:
    """How a cluster does. What is not known is None, and counts as good."""

    healthy: bool = True
    """Whether it answers."""
    draining: bool = False
    """Whether all of its transceivers want no new calls."""
    sessions: int | None = None
    """Calls that it has now; while some of its transceivers drain, those of the others."""
    capacity: int | None = None
    """Calls that there is room for where these are counted."""
    seen: float | None = None
    """When it last gave a sign of life, in Unix seconds."""
    entrances: tuple[Entrance, ...] = ()
    """Where it takes offers, as far as that was found out."""

    @property
    def has_room(self) -> bool:
        """Whether it takes another call, as far as is known."""
        known = self.sessions is not None and self.capacity is not None
        return not self.draining and (not known or (self.sessions or 0) < (self.capacity or 0))


@dataclass(frozen=True, slots=True)
class IngressState:
    """How an ingress point does."""

    healthy: bool = True
    """Whether it answers."""
    seen: float | None = None
    """When it last gave a sign of life, in Unix seconds."""


#: What counts of whom nothing is known.
UNKNOWN_CLUSTER: Final = ClusterState()
UNKNOWN_INGRESS: Final = IngressState()


@dataclass(frozen=True, slots=True)
class View:
    """A fleet and how it does. Never changes: the next moment has another."""

    fleet: Fleet = field(default_factory=Fleet)
    clusters: Mapping[int, ClusterState] = field(default_factory=dict)
    """By id."""
    ingresses: Mapping[int, IngressState] = field(default_factory=dict)
    """By id."""

    def cluster(self, id: int) -> ClusterState:
        """How a cluster does; one of which nothing is known is healthy and has room."""
        return self.clusters.get(id, UNKNOWN_CLUSTER)

    def ingress(self, id: int) -> IngressState:
        """How an ingress point does; one of which nothing is known is healthy."""
        return self.ingresses.get(id, UNKNOWN_INGRESS)

    def entrances(self, cluster: FleetCluster) -> tuple[Entrance, ...]:
        """Where a cluster takes offers: what its names stand for, or else what the file says."""
        found = self.cluster(cluster.id).entrances
        return found or tuple(one for url in cluster.signaling for one in entrances(url))
