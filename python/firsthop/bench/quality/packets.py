"""Speech as the Opus packets that a browser would make of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from firsthop import _native
from firsthop.bench.quality.speech import RATE, Samples
from firsthop.bench.quality.trace import PACKET_S

BITRATE: Final = 32_000
#: What the encoder is told to expect: it decides how much of a packet is spent on its predecessor.
EXPECTED_LOSS_PERCENT: Final = 10
#: Chromium's on a desktop.
_COMPLEXITY: Final = 9
SAMPLES: Final = round(PACKET_S * RATE)
"""Of a packet."""


def encode(samples: Samples) -> list[bytes]:
    """Return Opus payloads of 20 ms each, with in-band FEC; what fills no packet is left out."""
    return _native.encode(
        samples[: len(samples) // SAMPLES * SAMPLES].astype("<i2").tobytes(),
        rate=RATE,
        bitrate=BITRATE,
        complexity=_COMPLEXITY,
        packet_ms=round(PACKET_S * 1000),
        fec=True,
        loss_percent=EXPECTED_LOSS_PERCENT,
    )


def decode(payloads: Sequence[bytes]) -> Samples:
    """Return what a decoder makes of all packets: a little late, for the codec looks ahead."""
    pcm = _native.decode(payloads, rate=RATE)
    return np.frombuffer(pcm, dtype="<i2").astype(np.int16)
