"""A spoken sentence and what surrounds it, made by espeak-ng at any rate."""

from __future__ import annotations

import numpy as np

from firsthop.speech.espeak import Voice

TEXT = "Good morning, I would like to book a table for two people."
#: Quieter than this is no sound of the sentence.
_AUDIBLE = 500


async def spoken(sample_rate: int) -> bytes:
    """Return the sentence as PCM16LE, mono."""
    return await Voice().speak(TEXT, sample_rate)


def silence(ms: int, sample_rate: int) -> bytes:
    """Return nothing to hear."""
    return bytes(2 * (ms * sample_rate // 1000))


def audible_ms(pcm: bytes, sample_rate: int) -> tuple[float, float]:
    """Return where the first and the last sound of `pcm` are, in milliseconds."""
    loud = np.nonzero(np.abs(np.frombuffer(pcm, dtype="<i2").astype(np.int32)) > _AUDIBLE)[0]
    return float(loud[0] * 1000 / sample_rate), float(loud[-1] * 1000 / sample_rate)


def length_ms(pcm: bytes, sample_rate: int) -> int:
    """Return how long `pcm` takes."""
    return len(pcm) * 1000 // (2 * sample_rate)
