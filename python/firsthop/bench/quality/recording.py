"""What a listener hands on, and when: sound in pieces, each with the moment it was there."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr

from firsthop.bench.quality.speech import RATE, Samples

Seconds = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Recording:
    """Sound, and the moment at which each of its samples was there to be used."""

    samples: Samples
    """At `speech.RATE`, mono."""
    at_s: Seconds
    """Of each sample, as `time.monotonic` has it."""
    concealed: float | None = None
    """The part of what was said that the listener had to make up, if it tells."""


@dataclass
class Recorder:
    """Takes pieces of sound, and keeps them in a file."""

    rate: int
    """Of the sound, in Hz; mono."""
    _pieces: list[Samples] = field(default_factory=list)
    _at_s: list[float] = field(default_factory=list)

    def take(self, samples: Samples, at_s: float) -> None:
        """Take the next piece, which was there `at_s`."""
        self._pieces.append(samples)
        self._at_s.append(at_s)

    def save(self, path: Path) -> None:
        """Write all of it to a file, which is there only when it is whole."""
        unfinished = path.with_suffix(".part")
        with unfinished.open("wb") as file:
            np.savez(
                file,
                rate=self.rate,
                samples=np.concatenate(self._pieces or [np.zeros(0, dtype=np.int16)]),
                lengths=np.array([len(piece) for piece in self._pieces], dtype=np.int64),
                at_s=np.array(self._at_s, dtype=np.float64),
            )
        unfinished.rename(path)


def load(path: Path) -> Recording:
    """Read what a `Recorder` wrote."""
    with np.load(path) as kept:
        return recording(kept["samples"], int(kept["rate"]), kept["lengths"], kept["at_s"])


def recording(
    samples: Samples, rate: int, lengths: npt.NDArray[np.int64], at_s: Seconds
) -> Recording:
    """Return pieces of `lengths` samples, each there at its `at_s`, as a recording."""
    each_s = np.repeat(at_s, lengths)
    if rate == RATE:
        return Recording(samples, each_s)
    resampled = soxr.resample(samples, rate, RATE).astype(np.int16)
    # A sample is there when the piece is that it was made of.
    source = np.minimum(np.arange(len(resampled)) * rate // RATE, max(0, len(each_s) - 1))
    return Recording(resampled, each_s[source])
