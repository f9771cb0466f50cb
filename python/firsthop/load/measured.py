"""What a load test found, in raw numbers, and the percentiles of them. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from firsthop.load.own import Own

#: The stages of a set-up, in the order in which they come, and what they are called.
STAGES: Final = {
    "answer": "answered (HTTP)",
    "ice": "ICE, from the answer",
    "connected": "connected, from the answer",
    "channel": "data channel, from the answer",
    "audio": "first audio, from the answer",
    "in all": "POST to connected",
}
#: Bins of `Measured.gaps`, in ms.
GAP_MS: Final = 0.25


@dataclass(frozen=True, slots=True)
class Moment:
    """How things stand, while they go on. Packets are counted since `measuring` last changed."""

    at_s: float
    """Since the load began."""
    started: int
    """Calls begun so far."""
    asking: int
    """Calls whose offer is not answered."""
    connecting: int
    connected: int
    failures: Mapping[str, int]
    """Calls that failed or were dropped so far, by cause."""
    sent: int
    received: int
    lost: int
    measuring: bool
    setup_ms: Sequence[float]
    """POST to connected, of the calls that connected lately."""
    gaps: Sequence[int]
    """Histogram of the time between packets, so far."""
    unreturned: int = 0
    placed: int = 0
    """Calls that were answered so far."""
    refused: int = 0
    """Calls that were not placed so far."""
    dropped: int = 0
    """Calls that were connected and are not any more."""
    moved: int = 0
    """Times that a call went on elsewhere so far."""


@dataclass(frozen=True, slots=True)
class Move:
    """A call that went on elsewhere, because the server asked it to."""

    at_s: float
    """Since the load began."""
    took_ms: float
    """From the event that asked for it to the new client being connected."""
    gap_ms: float | None
    """How long nothing came, beyond a packet's 20 ms; None: the server was silent then anyway."""


@dataclass(frozen=True, slots=True)
class Instant:
    """A point of the course of a load test. What is counted, is so since the instant before."""

    at_s: float
    connecting: int
    """Calls on their way now."""
    connected: int
    """Calls that are up now."""
    failed: int
    """Calls that failed or were dropped, since the load began."""
    received: int
    lost: int
    unreturned: int = 0
    placed: int = 0
    refused: int = 0
    dropped: int = 0
    moved: int = 0
    longest_gap_ms: float = 0.0
    """The longest time between two packets of a call that ended in it, moves included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a load test found."""

    url: str
    door: str
    asked: int
    """Calls that there should have been."""
    rate: float
    """Calls per second that there should have been."""
    talks: bool
    started: int
    """Calls begun."""
    stood: int
    """Calls that were connected in the end."""
    unfinished: int = 0
    """Calls that were being set up when the test was ended early."""
    failures: Mapping[str, int] = field(default_factory=dict)
    """Calls that failed or were dropped, by cause."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Those of them that had been connected, by cause."""
    examples: Mapping[str, str] = field(default_factory=dict)
    """What one call of each cause was told."""
    ramp_s: float
    """How long it took to place all calls."""
    seconds: float
    """How long media was measured."""
    ended_early: bool = False
    stages_ms: Mapping[str, Sequence[float]]
    """For each of `STAGES`, how long it took the calls that reached it."""
    totals: Mapping[str, int]
    """Counts of media while it was measured, as `firsthop._native.Callers.totals` names them."""
    gaps: Sequence[int]
    """How many times between packets fell into each bin of `GAP_MS`; the last holds all longer."""
    jitter_ms: Sequence[float] = ()
    """Interarrival jitter (RFC 3550 section 6.4.1), of each call."""
    round_trip_ms: Sequence[float] = ()
    """Of each call."""
    delays_ms: Sequence[float] = ()
    """Mouth to ear: from when a mark was sent to when its echo came, of each that came back."""
    marks_missed: int = 0
    """Marks that did not come back to those that listened."""
    listeners: int = 0
    """Calls that listened for marks."""
    moves: Sequence[Move] = ()
    """Calls that went on elsewhere, each time that one did."""
    moves_failed: Mapping[str, int] = field(default_factory=dict)
    """Times that one could not, by cause."""
    move_examples: Mapping[str, str] = field(default_factory=dict)
    """What one of each cause was told."""
    began: float = 0.0
    """When the load began, in seconds since 1970: instants and moves count from there."""
    instants: Sequence[Instant] = ()
    own: Own

    @property
    def failed(self) -> int:
        """Calls that failed or were dropped."""
        return sum(self.failures.values())

    @property
    def unreturned(self) -> int | None:
        """Packets that were lost on either way; None: the server does not return them as they are.

        Of those before the newest that came back.
        """
        return self.totals["unreturned"] if self.totals["returned"] else None

    @property
    def move_gaps_ms(self) -> list[float]:
        """How long nothing came at each move, beyond a packet's 20 ms, where something should."""
        return [move.gap_ms for move in self.moves if move.gap_ms is not None]

    @property
    def lost_percent(self) -> float | None:
        """Packets of those sent to us that did not come; None if none were."""
        due = self.totals["received"] + self.totals["lost"]
        return 100 * self.totals["lost"] / due if due else None

    @property
    def echoes(self) -> bool:
        """Whether marks came back, so that there is a delay from mouth to ear."""
        return bool(self.delays_ms)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least `percent` of `values` do not exceed (nearest rank).

    Raises:
        ValueError: There are no values.
    """
    if not values:
        raise ValueError("no percentile of nothing")
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(int(rank), 1) - 1]


def gap_percentile(gaps: Sequence[int], percent: float) -> float | None:
    """Return a percentile of a histogram with bins of `GAP_MS`, in ms; None if it is empty.

    It is the upper end of the bin. `inf`: it lies among those that are longer than all bins.
    """
    rank = max(sum(gaps) * percent / 100, 1)
    if not sum(gaps):
        return None
    seen = 0
    for place, count in enumerate(gaps):
        seen += count
        if seen >= rank:
            return float("inf") if place == len(gaps) - 1 else (place + 1) * GAP_MS
    return float("inf")
