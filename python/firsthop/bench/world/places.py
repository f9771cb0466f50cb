"""Who is where in a world, by which addresses, and what the network does between two places."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from firsthop.bench.link import Conditions

USER, EDGE, CLUSTER = "user", "edge", "cluster"
#: Machines of each role in a region, each with an address: a cluster has room for two relays.
_ADDRESSES: Final = {USER: 1, EDGE: 1, CLUSTER: 2}
_WITHIN_MS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Region:
    """A region."""

    name: str
    location: tuple[float, float]
    """Latitude and longitude, in degrees."""


FRA: Final = Region("fra", (50.1, 8.7))
IAD: Final = Region("iad", (38.9, -77.4))
SIN: Final = Region("sin", (1.3, 103.9))
#: One way, in ms.
DISTANCES: Final[Mapping[frozenset[str], float]] = {
    frozenset(("fra", "iad")): 80.0,
    frozenset(("fra", "sin")): 180.0,
    frozenset(("iad", "sin")): 180.0,
}


def public_leg(one_way_ms: float) -> Conditions:
    """What a path across the public internet does: the farther, the more uneven."""
    return Conditions(
        delay_ms=one_way_ms, jitter_ms=0.2 + one_way_ms / 20, loss=one_way_ms / 18_000, burst=2
    )


@dataclass(frozen=True, slots=True)
class Place:
    """Machines of one role in one region; a network namespace."""

    region: str
    role: str
    addresses: tuple[str, ...]

    @property
    def name(self) -> str:
        """As ``fra.edge``."""
        return f"{self.region}.{self.role}"


@dataclass(frozen=True)
class Map:
    """Regions, and what is between them.

    Raises:
        ValueError: Two regions have one name, or the distance between two is missing.
    """

    regions: Sequence[Region] = (FRA, IAD, SIN)
    one_way_ms: Mapping[frozenset[str], float] = field(default_factory=lambda: DISTANCES)
    """Between two regions."""
    within_ms: float = _WITHIN_MS
    """Between two places of a region, one way."""
    public: Callable[[float], Conditions] = public_leg
    """What happens to packets from and to users, given the distance; to all others that only."""
    seed: int = 7
    """Of all that is drawn."""

    def __post_init__(self) -> None:
        names = [region.name for region in self.regions]
        if len({*names}) < len(names):
            raise ValueError("two regions have the same name")
        for at, one in enumerate(names):
            for other in names[:at]:
                if frozenset((one, other)) not in self.one_way_ms:
                    raise ValueError(f"how far {one} is from {other} is not told")

    def places(self) -> Iterator[Place]:
        """Yield all places, with addresses of their own."""
        for number, region in enumerate(self.regions, 1):
            for role, count in _ADDRESSES.items():
                network = f"10.{number}.{list(_ADDRESSES).index(role)}"
                addresses = tuple(f"{network}.{host}" for host in range(1, count + 1))
                yield Place(region.name, role, addresses)

    def conditions(self, source: Place, destination: Place) -> Conditions:
        """Return what happens to packets from one place to another."""
        both = frozenset((source.region, destination.region))
        one_way_ms = self.within_ms if len(both) == 1 else self.one_way_ms[both]
        if USER in (source.role, destination.role):
            return self.public(one_way_ms)
        return Conditions(delay_ms=one_way_ms)
