"""When a caller heard the agent, from the packets that arrived. No clock, no sockets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: Of decoded sound, in Hz; mono.
RATE = 48_000
#: Pieces of this length are audible or not.
_PIECE = RATE // 200
_AUDIBLE = 300.0

Samples = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A packet, decoded: when it came, and the sound in it."""

    at_s: float
    samples: Samples


def last_sound_s(arrivals: Sequence[Arrival], start_s: float, end_s: float) -> float | None:
    """Return when the last sound between two moments was over, for a client that adds no delay.

    A packet is played when it arrives, or when the one before it is over.
    """
    last = None
    free_s = 0.0
    for arrival in arrivals:
        begin_s = max(arrival.at_s, free_s)
        free_s = begin_s + len(arrival.samples) / RATE
        for offset, loud in _pieces(arrival.samples):
            over_s = begin_s + (offset + _PIECE) / RATE
            if loud and start_s <= over_s <= end_s:
                last = over_s
    return last


def first_sound_s(arrivals: Sequence[Arrival], start_s: float) -> float | None:
    """Return when the first packet with sound came after a moment."""
    return next(
        (
            arrival.at_s
            for arrival in arrivals
            if arrival.at_s > start_s and any(loud for _, loud in _pieces(arrival.samples))
        ),
        None,
    )


def audible(samples: Samples) -> tuple[int, int]:
    """Return where the first piece that can be heard begins, and where the last one ends.

    Raises:
        ValueError: None can.
    """
    loud = [offset for offset, loud in _pieces(samples) if loud]
    if not loud:
        raise ValueError("nothing can be heard")
    return loud[0], loud[-1] + _PIECE


def _pieces(samples: Samples) -> Iterator[tuple[int, bool]]:
    for offset in range(0, len(samples) - _PIECE + 1, _PIECE):
        piece = samples[offset : offset + _PIECE].astype(np.float64)
        yield offset, bool(np.sqrt(np.mean(piece**2)) > _AUDIBLE)
