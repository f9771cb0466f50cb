"""Clusters and ingress points as the fleet file has them, checked against each other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Final, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from firsthop.config import ClusterSettings
from firsthop.values import ClusterId, EndpointUrl, Network, PublicAddress, Site
from firsthop.yamlfile import problem_at

_EARTH_RADIUS_KM: Final = 6371.0
#: Clusters of a fleet, at most. Ingress points are as many as there are ids.
_MAX_CLUSTERS: Final = 256
_MAX_INGRESSES: Final = 256
#: URLs by which one cluster or ingress point is asked how it does, at most.
_MAX_URLS: Final = 16

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]


class Location(NamedTuple):
    """A place on Earth, in degrees: north and east are positive."""

    latitude: Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
    longitude: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]


def kilometres(one: Location, other: Location) -> float:
    """Return the distance over ground, by the haversine formula; the Earth taken for a sphere."""
    south, north = math.radians(one.latitude), math.radians(other.latitude)
    east = math.radians(other.longitude - one.longitude)
    chord = (
        math.sin((north - south) / 2) ** 2
        + math.cos(south) * math.cos(north) * math.sin(east / 2) ** 2
    )
    return 2 * _EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(chord)))


class FleetCluster(ClusterSettings):
    """A cluster: where its transceivers are, and how others reach it."""

    id: ClusterId
    name: Name
    """What it is called in metrics and explanations."""
    location: Location
    """Latitude and longitude of its transceivers, in degrees."""
    networks: tuple[Network, ...] = Field(min_length=1, max_length=256)
    signaling: tuple[EndpointUrl, ...] = Field((), max_length=_MAX_URLS)
    """Where it takes offers; a name stands for all its addresses. It is healthy while any of these
    answers /readyz."""
    capacity: int | None = Field(None, ge=1)
    """Sessions that it has room for; unset: what its transceivers say."""


class FleetIngress(BaseModel):
    """An ingress point: relays that share public addresses."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    id: Site
    """`relay.site` of its relays."""
    name: Name
    """What it is called in metrics and explanations."""
    location: Location
    """Latitude and longitude, in degrees."""
    udp: tuple[PublicAddress, ...] = Field((), max_length=16)
    """Its public addresses, as `relay.listen` orders them."""
    tcp: tuple[PublicAddress, ...] = Field((), max_length=16)
    """Its public TCP addresses, as `relay.tcp_listen` orders them."""
    health: tuple[EndpointUrl, ...] = Field((), max_length=_MAX_URLS)
    """`relay.health_listen` of its relays. It is healthy while any of these answers /readyz."""
    clusters: tuple[ClusterId, ...] = ()
    """Ids of the clusters that it can reach; none: all."""

    @model_validator(mode="after")
    def _can_be_reached(self) -> Self:
        if not self.udp and not self.tcp:
            raise problem_at("udp", "expected at least one address, here or in tcp")
        return self

    def reaches(self, cluster: int) -> bool:
        """Whether it forwards to a cluster."""
        return not self.clusters or cluster in self.clusters


class Fleet(BaseModel):
    """All clusters and ingress points."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    clusters: tuple[FleetCluster, ...] = Field((), max_length=_MAX_CLUSTERS)
    """The clusters."""
    ingresses: tuple[FleetIngress, ...] = Field((), max_length=_MAX_INGRESSES)
    """The ingress points."""

    @model_validator(mode="after")
    def _nothing_is_there_twice(self) -> Self:
        _check_ids_and_names("clusters", self.clusters)
        _check_ids_and_names("ingresses", self.ingresses)
        _check_once(
            (f"clusters.{n}.relays.{m}", address)
            for n, cluster in enumerate(self.clusters)
            for m, address in enumerate(cluster.relays)
        )
        _check_apart(self.clusters)
        return self

    @model_validator(mode="after")
    def _ingresses_reach_what_there_is(self) -> Self:
        known = {cluster.id for cluster in self.clusters}
        for n, ingress in enumerate(self.ingresses):
            for m, id_ in enumerate(ingress.clusters):
                if id_ not in known:
                    have = ", ".join(map(str, sorted(known))) or "none"
                    place = f"ingresses.{n}.clusters.{m}"
                    raise problem_at(place, f"there is no cluster {id_}; there are {have}")
        return self

    def cluster(self, id: int) -> FleetCluster | None:
        """The cluster with this id, if there is one."""
        return next((cluster for cluster in self.clusters if cluster.id == id), None)

    def ingress(self, id: int) -> FleetIngress | None:
        """The ingress point with this id, if there is one."""
        return next((ingress for ingress in self.ingresses if ingress.id == id), None)


def _check_ids_and_names(key: str, entries: Sequence[FleetCluster | FleetIngress]) -> None:
    _check_once((f"{key}.{n}.id", entry.id) for n, entry in enumerate(entries))
    _check_once((f"{key}.{n}.name", entry.name) for n, entry in enumerate(entries))


def _check_once(places: Iterable[tuple[str, int | str]]) -> None:
    seen: dict[int | str, str] = {}
    for place, value in places:
        if value in seen:
            raise problem_at(place, f"{value!r} is at {seen[value]} already")
        seen[value] = place


def _check_apart(clusters: Sequence[FleetCluster]) -> None:
    """Refuse clusters whose networks overlap: an address in both would have two masters."""
    places = [
        (ip_network(network), n, f"clusters.{n}.networks.{m}")
        for n, cluster in enumerate(clusters)
        for m, network in enumerate(cluster.networks)
    ]
    # In this order, of networks that overlap, the wider comes first.
    places.sort(key=lambda place: (place[0].version, int(place[0].network_address), place[0]))
    around: list[tuple[IPv4Network | IPv6Network, int, str]] = []
    for network, n, place in places:
        around = [wider for wider in around if wider[0].overlaps(network)]
        other = next((wider for wider in around if wider[1] != n), None)
        if other is not None:
            later, earlier = (place, other[2]) if n > other[1] else (other[2], place)
            shown = network if later == place else other[0]
            raise problem_at(later, f"'{shown}' overlaps with {earlier}")
        around.append((network, n, place))
