"""How speech sounds to people, as PESQ has it: ITU-T P.862.2, wide-band, as MOS-LQO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from firsthop.bench.errors import BenchError
from firsthop.bench.quality.speech import RATE, Samples

try:
    import pesq
except ImportError:
    if TYPE_CHECKING:
        raise
    raise BenchError(
        "no score without pesq: `pip install pesq` (it needs a C compiler), or `make bench`"
    ) from None

#: Of what has nothing in common with what was said: the measure's lowest.
LOWEST: Final = 1.0


def score(said: Samples, heard: Samples) -> float:
    """Return the MOS of `heard`, from 1.0 to 4.64, where `said` is what it should be."""
    if len(heard) < RATE // 4 or not np.any(heard):
        return LOWEST
    try:
        return float(pesq.pesq(RATE, said, heard, "wb"))
    except pesq.NoUtterancesError:
        return LOWEST
