"""Where in a turn sound was last loud, to 4 ms. No I/O."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

#: Samples that are loud or not.
_PIECE: Final = 64
#: Loud is what has more than this part of the power of the turn's loudest piece: 30 dB below.
_PART: Final = 1 / 1000

Samples = npt.NDArray[np.int16]


class Loudness:
    """Follows one turn."""

    def __init__(self) -> None:
        self._peak = 0.0

    def heard(self, samples: Samples) -> int:
        """Take the turn's next sound; return where it was last loud, counted from its start.

        Returns:
            The end of its last loud piece; 0 if it has none.
        """
        power = _power(samples)
        self._peak = max(self._peak, float(power.max(initial=0.0)))
        loud = np.flatnonzero(power > self._peak * _PART)
        return (int(loud[-1]) + 1) * _PIECE if len(loud) else 0

    def quiet(self, samples: Samples) -> bool:
        """Whether nothing in some sound is loud; what is no whole piece is not looked at."""
        return not np.any(_power(samples) > self._peak * _PART)


def _power(samples: Samples) -> npt.NDArray[np.float64]:
    whole = samples[: len(samples) - len(samples) % _PIECE].astype(np.float64)
    power: npt.NDArray[np.float64] = np.mean(whole.reshape(-1, _PIECE) ** 2, axis=1)
    return power
