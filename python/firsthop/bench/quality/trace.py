"""What a network does to the packets of a programme: which of them arrive, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from firsthop.bench.link import Conditions, Link

PACKET_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Arrival:
    """A packet that is not lost."""

    packet: int
    """Its number in the programme, from 0."""
    at_s: float
    """When it arrives, after the first one was sent."""


@dataclass(frozen=True, slots=True)
class Trace:
    """The fate of all packets."""

    packets: int
    arrivals: Sequence[Arrival]
    """In the order in which they arrive."""

    @property
    def mean_delay_s(self) -> float:
        """How long those that arrive are under way."""
        delays = [arrival.at_s - arrival.packet * PACKET_S for arrival in self.arrivals]
        return sum(delays) / len(delays) if delays else 0.0

    @property
    def lost(self) -> float:
        """The part of packets that do not arrive."""
        return 1 - len(self.arrivals) / self.packets if self.packets else 0.0


def trace(conditions: Conditions, packets: int) -> Trace:
    """Draw the fate of `packets` packets, sent every 20 ms; the same for the same conditions."""
    link = Link(conditions)
    arrivals = []
    for packet in range(packets):
        at_s = link.leaves(packet * PACKET_S)
        if at_s is not None:
            arrivals.append(Arrival(packet, at_s))
    return Trace(packets, sorted(arrivals, key=lambda arrival: (arrival.at_s, arrival.packet)))
