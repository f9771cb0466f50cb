"""Speech that is the same every time, and how alike two sounds are."""

from __future__ import annotations

import io
import itertools
import subprocess
import wave
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr

#: Of all sound here, in Hz; mono. What clients capture and play.
RATE = 48_000
#: A sentence for the caller, and another one of about the same length that was never said.
SENTENCE = "The quick brown fox jumps over the lazy dog near the river bank."
OTHER_SENTENCE = "Every morning seven boats carry fresh bread across our windy bay."
#: Words are the same above `ALIKE`: they come back at 0.9 and more, at 0.8 when a jitter buffer
#: has stumbled or an echo canceller is at work. Others, at 0.25 to 0.36, are below `DIFFERENT`.
ALIKE = 0.6
DIFFERENT = 0.5

Samples = npt.NDArray[np.int16]

_HOP = RATE // 100
_WINDOW = 2 * _HOP
#: In steps of 10 ms.
_SEGMENT = 100
_SLACK = 15
_BANDS = 20
_LOWEST_HZ, _HIGHEST_HZ = 150.0, 5000.0


@cache
def speech(text: str) -> Samples:
    """Return `text` as espeak-ng says it, without silence around it."""
    command = ["espeak-ng", "-v", "en-us", "-s", "160", "-p", "60", "--stdout", text]
    spoken = subprocess.run(command, capture_output=True, check=True).stdout
    with wave.open(io.BytesIO(spoken)) as reader:
        rate = reader.getframerate()
    # The length in the header is a placeholder when espeak-ng streams.
    pcm = np.frombuffer(spoken[44 : len(spoken) - len(spoken) % 2], dtype="<i2")
    samples: Samples = soxr.resample(pcm, rate, RATE).astype(np.int16)
    first, last = audible(samples)
    return samples[first:last]


def silence(seconds: float) -> Samples:
    """Return digital silence."""
    return np.zeros(int(seconds * RATE), dtype=np.int16)


def tone(hertz: float, seconds: float) -> Samples:
    """Return a sine."""
    time = np.arange(int(seconds * RATE)) / RATE
    return (10_000 * np.sin(2 * np.pi * hertz * time)).astype(np.int16)


def write_wav(path: Path, samples: Samples) -> None:
    """Write a WAV file, mono, PCM16."""
    path.write_bytes(wav(samples))


def wav(samples: Samples) -> bytes:
    """Return a WAV file, mono, PCM16."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(RATE)
        writer.writeframes(samples.astype("<i2").tobytes())
    return stream.getvalue()


def level(samples: Samples) -> float:
    """Return the root mean square, 0 to 32767."""
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2))) if len(samples) else 0.0


def audible(samples: Samples, threshold: float = 200.0) -> tuple[int, int]:
    """Return where the first 10 ms above `threshold` begin and the last end; (0, 0) if none."""
    whole = len(samples) // _HOP * _HOP
    pieces = samples[:whole].astype(np.float64).reshape(-1, _HOP)
    loud = np.flatnonzero(np.sqrt(np.mean(pieces**2, axis=1)) > threshold)
    return (int(loud[0]) * _HOP, (int(loud[-1]) + 1) * _HOP) if len(loud) else (0, 0)


def loudest_hertz(samples: Samples) -> float:
    """Return the frequency that is strongest in `samples`."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * RATE / len(samples))


def similarity(heard: Samples, said: Samples) -> float:
    """Return how well `said` is found somewhere in `heard`, from 0 to 1.

    The normalised cross-correlation of their spectrograms, at the best of all alignments. Codecs
    change a waveform; which band is loud when, they leave. Jitter buffers stretch and skip, so
    each second of `said` may stand a little off the place that the others give it.
    """
    pattern, scene = _spectrogram(said), _spectrogram(heard)
    starts = len(scene) - len(pattern) + 1
    if starts < 1:
        return 0.0
    total = np.zeros(starts)
    weight = 0.0
    for at in range(0, len(pattern), _SEGMENT):
        segment = pattern[at : at + _SEGMENT]
        found = _correlation(segment, scene)
        # The best within the slack of each place.
        found = np.pad(found, _SLACK, constant_values=-1.0)
        found = np.lib.stride_tricks.sliding_window_view(found, 2 * _SLACK + 1).max(axis=1)
        total += len(segment) * found[at : at + starts]
        weight += len(segment)
    return max(0.0, float(total.max()) / weight)


def _correlation(
    pattern: npt.NDArray[np.float64], scene: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the normalised correlation of `pattern` with `scene` at each place, -1 to 1."""
    pattern = pattern - pattern.mean(axis=0)
    norm = np.sqrt(np.sum(pattern**2))
    found = np.zeros(len(scene) - len(pattern) + 1)
    for start in range(len(found)):
        piece = scene[start : start + len(pattern)]
        piece = piece - piece.mean(axis=0)
        scale = norm * np.sqrt(np.sum(piece**2))
        found[start] = np.sum(piece * pattern) / scale if scale > 0 else 0.0
    return found


def check_words(heard: Samples, said: Samples, not_said: Samples) -> None:
    """Assert that `heard` has the words of `said`, by a measure that tells those of `not_said`."""
    right, wrong = similarity(heard, said), similarity(heard, not_said)
    assert right > ALIKE, f"what was said is not heard: {right:.2f}"
    assert wrong < DIFFERENT, f"heard as well what was never said: {wrong:.2f}"


def _spectrogram(samples: Samples) -> npt.NDArray[np.float64]:
    """Loudness, compressed as ears do, by 10 ms and band."""
    count = (len(samples) - _WINDOW) // _HOP + 1
    if count < 1:
        return np.zeros((0, _BANDS))
    frames = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP][:count]
    power = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW), axis=1)) ** 2
    hertz = np.fft.rfftfreq(_WINDOW, 1 / RATE)
    edges = np.geomspace(_LOWEST_HZ, _HIGHEST_HZ, _BANDS + 1)
    bands = [
        power[:, (hertz >= low) & (hertz < max(high, low + RATE / _WINDOW))].sum(axis=1)
        for low, high in itertools.pairwise(edges)
    ]
    # The floor is that of a quiet room: below it there is nothing to compare.
    return np.log10(np.stack(bands, axis=1) + 1e7)
