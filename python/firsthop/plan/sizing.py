"""From shares of sessions to processes, cores, memory and traffic.

Everything is a `Quantity`, so each figure knows what it rests on. Plain numbers here are units:
nanoseconds in a second, bits in a byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from firsthop.plan.demand import Demand, Input
from firsthop.plan.measurements import Measurement
from firsthop.plan.placement import Share
from firsthop.plan.quantity import Quantity, least
from firsthop.plan.regions import Regions

#: Where the shares of sessions come from.
REGIONS: Final = "regions"
_HEADROOM: Final = {
    "utilisation": ("", "share of a core that is used at peak"),
    "spare": ("processes", "beyond those needed, of each kind in each region"),
    "lose_a_region": ("", "1: any one region may be lost, and others carry its load"),
}
_SIZES: Final = {
    "relay_cores": ("cores", "of a relay, a worker each; one worker was measured"),
    "candidates": ("", "ingresses that an answer names"),
    "heartbeat_seconds": ("s", "between two reports of a process to the fleet's Redis"),
}
_MONTH_SECONDS: Final = 365.25 / 12 * 86_400
_GIB: Final = 2.0**30


@dataclass(frozen=True)
class Basis:
    """All numbers that a plan begins with, by name."""

    measurements: dict[str, Measurement]
    inputs: dict[str, Input]
    sessions: Quantity
    """At peak."""

    @classmethod
    def of(cls, demand: Demand, regions: Regions, prices: Mapping[str, Input]) -> Basis:
        """Gather what was measured, given and assumed."""
        inputs = demand.inputs() | _inputs(regions) | dict(prices)
        weekly = ("weekly_users", "minutes_per_week", "peak_to_mean")
        used = ("sessions",) if "sessions" in inputs else weekly
        return cls(regions.measurements(), inputs, Quantity(demand.peak_sessions(), used))

    def __getitem__(self, name: str) -> Quantity:
        """Return one of them."""
        if name in self.measurements:
            return Quantity.of(name, self.measurements[name].value)
        return Quantity.of(name, self.inputs[name].value)


@dataclass(frozen=True)
class Load:
    """What a region has to do in one scenario, at peak."""

    entering: Quantity
    served: Quantity
    relay_cores: Quantity
    """That are busy."""
    flows: Quantity
    public_in: Quantity
    """Mbit/s, from the internet."""
    public_out: Quantity
    """Mbit/s, to the internet."""
    backbone: Quantity
    """Mbit/s to and from other regions, both ways together."""
    entering_offers: Quantity
    """Per second, at the gateway."""
    served_offers: Quantity
    """Per second, at signaling."""
    cache_operations: Quantity
    """Per second, at the flow cache's Redis."""


class Sizing:
    """Turns shares into loads, and loads into what is bought."""

    def __init__(self, basis: Basis, demand: Demand) -> None:
        self.basis = basis
        self._media = demand.media
        packets = _one(1000.0) / basis["packet_ms"]
        self._up = packets
        self._down = packets * basis["agent_speaks"]
        #: Client and transceiver each check each path, and answer each other.
        self._checks = _one(2.0) / basis["check"]
        self._wire = basis["opus_payload"] + basis["srtp"] + basis["ip_udp"]
        self._hop_wire = self._wire + basis["re1"] + basis["re1_hop"]
        self._offers = _one(1.0) / (basis["call_minutes"] * 60)

    def load(self, share: Share) -> Load:
        """Return what a region with these shares has to do."""
        here, out, into, second = (
            self.basis.sessions * Quantity.of(REGIONS, part)
            for part in (share.here, share.out, share.into, share.second)
        )
        entering, served = here + out, here + into
        flows = entering + second
        reports = flows / self.basis["flow_idle"]
        begun = flows * self._offers
        up, down = self._megabits(self._wire, self._up), self._megabits(self._wire, self._down)
        hops = self._megabits(self._hop_wire, self._up + self._down)
        return Load(
            entering=entering,
            served=served,
            relay_cores=self._forwarding(entering, second)
            + self._hopping(into)
            + reports * self.basis["relay_report"] / 1e6,
            flows=flows,
            public_in=entering * up,
            public_out=entering * down,
            backbone=(out + into) * hops,
            entering_offers=entering * self._offers,
            served_offers=served * self._offers,
            # A flow is written when it begins and deleted when it ends, and reported in between.
            cache_operations=reports + begun * 2,
        )

    def relays(self, busy_cores: Quantity) -> Quantity:
        """Return how many relays keep so many cores busy, and the spare ones."""
        each = self.basis["utilisation"] * self.basis["relay_cores"]
        return ((busy_cores / each).whole() + self.basis["spare"]).where(busy_cores)

    def sessions_each(self) -> Quantity:
        """Return how many sessions a transceiver of one core is given."""
        cost = self.basis[f"session_{self._media}"] / 1e3
        by_cost = self.basis["utilisation"] / cost
        if self._media == "pcm":
            return least([by_cost, self.basis["held_pcm"]])
        return least([by_cost, self.basis["held_opus"] * self.basis["utilisation"]])

    def transceivers(self, served: Quantity) -> Quantity:
        """Return how many transceivers serve so many sessions, and the spare ones."""
        return ((served / self.sessions_each()).whole() + self.basis["spare"]).where(served)

    def relay_memory(self, relays: Quantity, flows: Quantity) -> Quantity:
        """Return the memory of relays, in GiB."""
        processes = relays * self.basis["relay_process"] / 1024
        return processes + flows * self.basis["relay_flow"] / _GIB

    def transceiver_memory(self, transceivers: Quantity, served: Quantity) -> Quantity:
        """Return the memory of transceivers, in GiB."""
        processes = transceivers * self.basis["transceiver_process"] / 1024
        return processes + served * self.basis[f"memory_{self._media}"] * 1e3 / _GIB

    def cache_memory(self, flows: Quantity) -> Quantity:
        """Return the memory of the flow cache's Redis, in MiB."""
        return flows * self.basis["redis_flow"] / 2**20

    def heartbeats(self, processes: Quantity) -> Quantity:
        """Return writes per second into the fleet's Redis."""
        return processes / self.basis["heartbeat_seconds"]

    def clusters(self, transceivers: Quantity) -> Quantity:
        """Return how many clusters have room for so many transceivers to report."""
        return (transceivers / self.basis["beat_slots"]).whole()

    def fleet_reads(self, beats: Quantity) -> Quantity:
        """Return the Mbit/s of one that reads so many beats per second."""
        return beats * self.basis["beat_bytes"] * (8 / 1e6)

    def offer_cores(self, load: Load) -> Quantity:
        """Return the cores that offers and their handshakes keep busy."""
        passed_on = load.entering_offers * self.basis["offer_gateway"]
        return (passed_on + load.served_offers * self.basis["offer"]) / 1e3

    def month_gb(self, megabits: Quantity) -> Quantity:
        """Return the GB of a month, of traffic that is so much at peak."""
        return megabits / self.basis["peak_to_mean"] * (_MONTH_SECONDS / 8e3)

    def _forwarding(self, entering: Quantity, second: Quantity) -> Quantity:
        up, down = self.basis["relay_up"], self.basis["relay_down"]
        talk = self._up * up + self._down * down
        checks = self._checks * (up + down)
        return (entering * (talk + checks) + second * checks) / 1e9

    def _hopping(self, into: Quantity) -> Quantity:
        up, down = self.basis["hop_up"], self.basis["hop_down"]
        return (
            into * (self._up + self._checks) * up + into * (self._down + self._checks) * down
        ) / 1e9

    def _megabits(self, packet: Quantity, per_second: Quantity) -> Quantity:
        return packet * per_second * (8 / 1e6)


def _one(value: float) -> Quantity:
    """Return a number that needs no source."""
    return Quantity(value, ())


def _inputs(regions: Regions) -> dict[str, Input]:
    """Return what the regions file says, or leaves to its defaults."""
    inputs = {
        REGIONS: Input(len(regions.regions), "regions", "shares of users, and who is near", True)
    }
    for section, names in ((regions.headroom, _HEADROOM), (regions.sizes, _SIZES)):
        for name, (unit, what) in names.items():
            value, given = float(getattr(section, name)), name in section.model_fields_set
            inputs[name] = Input(value, unit, what, given)
    return inputs
