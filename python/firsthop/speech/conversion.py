"""Sound of any format, as it comes, to PCM16LE, mono, at one rate. No I/O."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

from firsthop.speech.wav import Format, WavReader

Samples = npt.NDArray[np.float32]


class WavSound:
    """Makes PCM16LE, mono, of a WAV file.

    Args:
        rate: Of what goes, in Hz.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._reader = WavReader()
        self._converter: Converter | None = None

    def feed(self, data: bytes) -> bytes:
        """Return the sound that has come; what is resampled comes a little later.

        Raises:
            WavError: It is no WAV, or of a kind that is not taken.
        """
        sound = self._reader.feed(data)
        if self._converter is None and self._reader.format is not None:
            self._converter = Converter(self._reader.format, self._rate)
        return b"" if self._converter is None else self._converter.feed(sound)

    def finish(self) -> bytes:
        """Return what was held back."""
        return b"" if self._converter is None else self._converter.finish()


class Converter:
    """Makes PCM16LE, mono, of any format.

    Args:
        source: What comes.
        rate: Of what goes, in Hz.
    """

    def __init__(self, source: Format, rate: int) -> None:
        self._source = source
        self._as_it_is = source == Format(rate)
        self._rest = b""
        self._resampler: Any = None
        if source.rate != rate:
            self._resampler = soxr.ResampleStream(source.rate, rate, 1, "float32", quality="MQ")

    def feed(self, data: bytes) -> bytes:
        """Return what has come; what is resampled comes a little later."""
        data = self._rest + data
        whole = len(data) - len(data) % self._source.frame
        self._rest = data[whole:]
        if self._as_it_is:
            return data[:whole]
        return self._converted(data[:whole], last=False)

    def finish(self) -> bytes:
        """Return what was held back; half a sample is lost."""
        return b"" if self._resampler is None else self._converted(b"", last=True)

    def _converted(self, data: bytes, *, last: bool) -> bytes:
        frames = _samples(data, self._source).reshape(-1, self._source.channels)
        mono: Samples = frames.mean(axis=1, dtype=np.float32)
        if self._resampler is not None:
            mono = self._resampler.resample_chunk(mono, last=last)
        return (mono * 32768).round().clip(-32768, 32767).astype("<i2").tobytes()


def _samples(data: bytes, source: Format) -> Samples:
    """Samples from -1 to 1."""
    if source.floating:
        # What is no number is silence; a resampler would spread it.
        floats: Samples = np.nan_to_num(np.frombuffer(data, "<f4"), posinf=0, neginf=0)
        return floats.clip(-1, 1)
    if source.bits == 24:
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        data = wide.tobytes()
    bits = 32 if source.bits == 24 else source.bits
    return np.frombuffer(data, f"<i{bits // 8}").astype(np.float32) / np.float32(2 ** (bits - 1))
