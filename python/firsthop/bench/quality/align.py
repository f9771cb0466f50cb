"""Finds what was said in what was heard: how late each piece is, and where clips are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from firsthop.bench.quality.recording import Recording
from firsthop.bench.quality.speech import RATE, Clip, Samples

#: A piece that is looked for, and how far it is from one to the next, in samples.
_PIECE: Final = RATE * 32 // 100
_HOP: Final = RATE * 16 // 100
#: Pieces that are quieter than this, as root mean square, are no speech.
_AUDIBLE: Final = 500.0
#: How much later than it was said a piece is looked for.
_LATEST_S: Final = 1.0
#: The correlation from which a piece has been found: codecs and concealment change it a little.
_ALIKE: Final = 0.6

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a piece of what was said is in what was heard."""

    said: int
    """Its first sample, in the programme."""
    heard: int
    """The same sample, in the recording."""
    delay_s: float
    """How much later its samples were there than their packets were sent, on average."""


def places(programme: Samples, recording: Recording, sent_s: Floats) -> list[Place]:
    """Find the audible pieces of a programme.

    Args:
        programme: What was said, as the codec leaves it.
        recording: What was heard of it.
        sent_s: When each sample of `programme` was sent, as `recording` has its times.
    """
    found = []
    for said, piece in _audible(programme):
        when_s = sent_s[said : said + _PIECE]
        first, end = np.searchsorted(recording.at_s, (when_s[0], when_s[-1] + _LATEST_S))
        # What came at once with the first sample may begin before it.
        first = max(0, int(first) - _PIECE)
        scene = recording.samples[first:end].astype(np.float64)
        at, likeness = _best(piece, scene)
        if likeness >= _ALIKE:
            heard = first + at
            late_s = recording.at_s[heard : heard + _PIECE] - when_s
            found.append(Place(said, heard, float(late_s.mean())))
    return found


def pieces(programme: Samples) -> int:
    """Return how many audible pieces a programme has."""
    return sum(1 for _ in _audible(programme))


def cut(recording: Recording, clip: Clip, found: Sequence[Place], margin: int) -> Samples:
    """Return what was heard of a clip and of `margin` samples around it.

    Where nothing of the clip was found, that is nothing.
    """
    within = [place for place in found if clip.begin <= place.said < clip.end]
    if not within:
        return recording.samples[:0]
    begin = within[0].heard - (within[0].said - clip.begin) - margin
    end = within[-1].heard + (clip.end - within[-1].said) + margin
    return recording.samples[max(0, begin) : end]


def drift_s(found: Sequence[Place]) -> float:
    """Return by how much longer the recording is than what was said, from first place to last."""
    if not found:
        return 0.0
    first, last = found[0], found[-1]
    return ((last.heard - last.said) - (first.heard - first.said)) / RATE


def _audible(programme: Samples) -> Iterator[tuple[int, Floats]]:
    for said in range(0, len(programme) - _PIECE + 1, _HOP):
        piece = programme[said : said + _PIECE].astype(np.float64)
        if np.sqrt(np.mean(piece**2)) >= _AUDIBLE:
            yield said, piece


def _best(piece: Floats, scene: Floats) -> tuple[int, float]:
    """Return where `scene` is most like `piece`, and how much: the normalised correlation."""
    if len(scene) < len(piece):
        return 0, 0.0
    size = 1 << (len(scene) + len(piece)).bit_length()
    product = np.fft.rfft(scene, size) * np.conj(np.fft.rfft(piece, size))
    correlation = np.fft.irfft(product, size)[: len(scene) - len(piece) + 1]
    energy = np.concatenate(([0.0], np.cumsum(scene**2)))
    energy = energy[len(piece) :] - energy[: -len(piece)]
    scale = np.sqrt(np.maximum(energy, 1.0) * np.sum(piece**2))
    likeness = correlation / scale
    at = int(np.argmax(likeness))
    return at, float(likeness[at])
