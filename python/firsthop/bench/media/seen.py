"""What was seen of some calls while they talked, and whether it may be called a call at all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

#: Of the callers' packets.
PACKETS_PER_S: Final = 50
#: What a row has to keep to.
LONGEST_GAP_MS: Final = 30.0
LEAST_RATE: Final = 0.99
#: Of the packets: where the load is late with more, gaps are its own.
_MOST_LATE: Final = 0.005
#: Bins of `Callers.gaps`.
_BINS_PER_MS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Some calls, for some seconds."""

    sessions: int
    """How many there should have been."""
    connected: int
    """How many there were when it was over."""
    seconds: float
    cpu_s: float
    """Of the server."""
    sent: int
    """Packets of all callers; so are the following."""
    received: int
    lost: int
    late: int
    """Of those sent: more than 5 ms after their time."""
    gaps: Sequence[int]
    """As `firsthop._native.Callers.gaps` counts them."""
    delays_ms: Sequence[float] = ()
    """Of echoed marks."""
    dropped: int = 0
    """Datagrams for which the server's socket had no room."""
    load_dropped: int = 0
    """Datagrams for which a caller's socket had no room."""
    least_rate: float = LEAST_RATE
    """What must come back, of the packets that were due: a server may send nothing in silence."""
    resident_bytes: int = 0
    """The server's memory, after the calls have talked."""

    @property
    def cpu_ms(self) -> float:
        """The server's CPU time per session and second, in ms."""
        return self.cpu_s * 1000 / (self.seconds * self.sessions)

    @property
    def gap_p99_ms(self) -> float:
        """The 99th percentile of the time between packets of a call; infinite without any."""
        return gap_ms(self.gaps, 0.99)

    @property
    def sent_rate(self) -> float:
        """Packets that callers sent, of those that were due."""
        return self.sent / self._due

    @property
    def rate(self) -> float:
        """Packets that callers received, of those that were due."""
        return self.received / self._due

    @property
    def _due(self) -> float:
        return self.sessions * self.seconds * PACKETS_PER_S

    def faults(self) -> Iterator[str]:
        """Yield what keeps its figures from counting."""
        if self.connected < self.sessions:
            yield f"{self.sessions - self.connected} of {self.sessions:,} not connected"
        if self.sent_rate < LEAST_RATE:
            yield f"the load sent {self.sent_rate:.1%} of its packets"
        if self.late > self._due * _MOST_LATE:
            yield f"the load sent {self.late / self._due:.1%} of its packets late"
        if self.load_dropped:
            yield "the load's sockets were full"
        if self.rate < self.least_rate:
            yield f"{self.rate:.1%} of all packets came back"
        if self.lost:
            yield f"{self.lost / max(1, self.received + self.lost):.2%} of packets lost"
        if self.dropped:
            yield f"its socket was full for {self.dropped:,} packets"
        if self.gap_p99_ms > LONGEST_GAP_MS:
            yield f"gap p99 {self.gap_p99_ms:.0f} ms"


def gap_ms(gaps: Sequence[int], part: float) -> float:
    """Return a percentile of a histogram of gaps in ms; infinite when it is empty.

    Args:
        gaps: Counts of gaps, in bins of a quarter of a millisecond.
        part: Which one, 0 to 1.
    """
    rank = math.ceil(sum(gaps) * part)
    below = 0
    for number, count in enumerate(gaps):
        below += count
        if count and below >= rank:
            return (number + 1) / _BINS_PER_MS
    return math.inf
