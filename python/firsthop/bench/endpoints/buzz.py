"""A voice of sorts: a buzz with syllables, as long as the text would take to say."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Final

import numpy as np

RATE: Final = 24_000
_CHARACTERS_PER_SECOND: Final = 15
_PIECE_MS: Final = 100


def pieces(text: str) -> Iterator[tuple[float, bytes]]:
    """Yield the sound of a text as pairs of its length in ms and PCM16LE, mono, at `RATE`.

    Its first sample is loud.
    """
    samples = max(1, RATE * len(text) // _CHARACTERS_PER_SECOND)
    second = _second()
    for at in range(0, samples, RATE * _PIECE_MS // 1000):
        length = min(RATE * _PIECE_MS // 1000, samples - at)
        start = at % RATE * 2
        yield length * 1000 / RATE, second[start : start + length * 2]


@cache
def _second() -> bytes:
    """A second that can be repeated: 120 Hz with overtones, in four syllables."""
    time = np.arange(RATE) / RATE
    tone = sum(np.cos(2 * np.pi * 120 * n * time) / n for n in range(1, 9))
    syllables = 0.6 + 0.4 * np.cos(2 * np.pi * 4 * time)
    return (4_000 * tone * syllables).astype("<i2").tobytes()
