"""An agent that hardly ever stops: it hums, falls silent when interrupted, and hums again."""

from __future__ import annotations

import numpy as np

from firsthop.call import Call, SpeechEnded

_SECONDS = 20
_HERTZ = 330.0
_LOUDNESS = 8000


def hum(sample_rate: int) -> bytes:
    """Return PCM16LE, mono: a tone with no pause in it."""
    time = np.arange(_SECONDS * sample_rate) / sample_rate
    return (_LOUDNESS * np.sin(2 * np.pi * _HERTZ * time)).astype("<i2").tobytes()


async def talk(call: Call) -> None:
    """Hum, and again after each turn of the caller."""
    call.say(hum(call.sample_rate))
    async for event in call:
        if isinstance(event, SpeechEnded):
            call.say(hum(call.sample_rate))
