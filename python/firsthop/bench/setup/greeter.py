"""An agent that speaks at once: what it says was made before anybody called."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np

from firsthop.call import Call

_SECONDS: Final = 1
_HERTZ: Final = 330.0
_LOUDNESS: Final = 8000


@cache
def tone(sample_rate: int) -> bytes:
    """Return PCM16LE, mono: a tone."""
    time = np.arange(_SECONDS * sample_rate) / sample_rate
    return (_LOUDNESS * np.sin(2 * np.pi * _HERTZ * time)).astype("<i2").tobytes()


async def greet(call: Call) -> None:
    """Say the tone, and no more."""
    call.say(tone(call.sample_rate))
    async for _ in call:
        pass
