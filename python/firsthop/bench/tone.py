"""A tone, for agents that are measured by when they are heard."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np

_HERTZ: Final = 330.0
_LOUDNESS: Final = 8000


@cache
def tone(sample_rate: int, seconds: int) -> bytes:
    """Return PCM16LE, mono, with no pause in it. Made once: 20 s of it take 10 ms to compute."""
    time = np.arange(seconds * sample_rate) / sample_rate
    return (_LOUDNESS * np.sin(2 * np.pi * _HERTZ * time)).astype("<i2").tobytes()
