"""Sound at another rate, as soon as it comes: for what decides in the middle of speech. No I/O.

`soxr` keeps up to 20 ms back, for it works in blocks. This keeps half a millisecond back, and is
good enough to find speech, not to be listened to.
"""

from __future__ import annotations

from math import gcd
from typing import Final

import numpy as np
import numpy.typing as npt

#: Length of the filter to either side, in samples at the lower rate.
_REACH: Final = 8

Samples = npt.NDArray[np.int16]


class Resampler:
    """A stream of PCM16, mono, at another rate: a windowed sinc, evaluated where it is needed.

    Args:
        source: In Hz.
        target: In Hz.
    """

    def __init__(self, source: int, target: int) -> None:
        common = gcd(source, target)
        #: Both rates divide one: what comes is every `up`th sample of it, what goes every `down`th.
        self._up, self._down = target // common, source // common
        stretch = max(self._up, self._down)
        place = np.arange(-_REACH * stretch, _REACH * stretch + 1)
        kernel = np.sinc(place / stretch) * np.hanning(len(place) + 2)[1:-1]
        kernel *= self._up / kernel.sum()
        taps = -(-len(kernel) // self._up)
        kernel = np.pad(kernel, (0, taps * self._up - len(kernel)))
        #: Per phase, for the latest samples, the oldest first.
        self._kernels = kernel.reshape(taps, self._up).T[:, ::-1].astype(np.float32)
        self._held = np.zeros(taps - 1, dtype=np.float32)
        #: Where the next sample goes, on the common scale, after the start of what comes next.
        self._next = 0

    def feed(self, samples: Samples) -> Samples:
        """Return what `samples` make, but for the last half millisecond."""
        heard = np.concatenate((self._held, samples.astype(np.float32)))
        end = len(samples) * self._up
        places = np.arange(self._next, end, self._down)
        made = np.empty(len(places), dtype=np.float32)
        if len(places):
            windows = np.lib.stride_tricks.sliding_window_view(heard, self._kernels.shape[1])
            for first in range(min(self._up, len(places))):
                # Places so far apart have the same phase.
                every = places[first :: self._up]
                kernel = self._kernels[every[0] % self._up]
                made[first :: self._up] = (
                    windows[every[0] // self._up :: self._down][: len(every)] @ kernel
                )
            self._next = int(places[-1]) + self._down
        self._next -= end
        self._held = heard[len(samples) :]
        return made.round().clip(-32768, 32767).astype(np.int16)
