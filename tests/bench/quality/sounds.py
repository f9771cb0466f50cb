"""Sound that is the same every time, as different from itself elsewhere as speech is."""

from __future__ import annotations

import numpy as np

from firsthop.bench.quality.recording import Recording, Seconds
from firsthop.bench.quality.speech import RATE, Samples


def babble(seconds: float) -> Samples:
    """Return noise, loud and quiet by turns."""
    noise = np.random.default_rng(1).normal(0, 2500, int(seconds * RATE))
    return noise.astype(np.int16)


def played(samples: Samples, *, late_s: float, piece_s: float = 0.02) -> Recording:
    """Return sound that is there in pieces, `late_s` after each could be sent."""
    return Recording(samples, _in_pieces(samples, piece_s) + late_s)


def sent_s(samples: Samples) -> Seconds:
    """Return when each sample leaves, in packets of 20 ms."""
    return _in_pieces(samples, 0.02)


def _in_pieces(samples: Samples, piece_s: float) -> Seconds:
    pieces: Seconds = (np.arange(len(samples)) // int(piece_s * RATE)).astype(np.float64)
    return pieces * piece_s
