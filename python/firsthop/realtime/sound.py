"""Sound inside events: base64 of PCM16 at 24 kHz or G.711 at 8 kHz, to and from a call's PCM."""

from __future__ import annotations

import base64
import binascii
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import soxr

from firsthop.errors import EventError

#: Format -> sample rate in Hz.
RATES: Final = {"audio/pcm": 24_000, "audio/pcmu": 8_000, "audio/pcma": 8_000}
#: Most sound in one event, in bytes of base64: the contract's 15 MiB.
MAX_APPEND: Final = 15 * 1024 * 1024
#: Sound in one event to a client, in ms: a second's event is 64 KB of base64 at 24 kHz.
_DELTA_MS: Final = 500

Samples = npt.NDArray[np.int16]


class Decoder:
    """Turns the sound of a client's events into a call's PCM.

    Args:
        kind: audio/pcm, audio/pcmu or audio/pcma.
        rate: Of the PCM that comes out, in Hz.
    """

    def __init__(self, kind: str, rate: int) -> None:
        self._kind = kind
        self._rate = rate
        #: Made when there is sound: most calls send none in events, and it takes 57 KB.
        self._resampler: Any = None
        self._half = b""

    def for_format(self, kind: str) -> Decoder:
        """The decoder for what comes from now on: this one, unless the format has changed."""
        return self if kind == self._kind else Decoder(kind, self._rate)

    def decode(self, audio: str) -> bytes:
        """Return PCM16LE, mono; what is resampled comes up to 60 ms late.

        Raises:
            EventError: It is too long, or no base64.
        """
        if len(audio) > MAX_APPEND:
            message = f"at most {MAX_APPEND} bytes of base64 in one event"
            raise EventError("audio_too_long", message, param="audio")
        try:
            raw = base64.b64decode(audio, validate=True)
        except (binascii.Error, ValueError):
            raise EventError("invalid_audio", "expected base64", param="audio") from None
        samples = self._samples(raw)
        if len(samples):
            self._resampler = self._resampler or _resampler(RATES[self._kind], self._rate)
            if self._resampler is not None:
                samples = self._resampler.resample_chunk(samples)
        return samples.astype("<i2").tobytes()

    def flush(self) -> bytes:
        """Return what was held back: what comes next has nothing to do with what came."""
        self._half = b""
        if self._resampler is None:
            return b""
        nothing = np.empty(0, dtype=np.int16)
        rest: Samples = self._resampler.resample_chunk(nothing, last=True)
        self._resampler = None
        return rest.astype("<i2").tobytes()

    def _samples(self, raw: bytes) -> Samples:
        if self._kind != "audio/pcm":
            return _table(self._kind)[np.frombuffer(raw, dtype=np.uint8)]
        # An event may end within a sample.
        raw = self._half + raw
        whole = len(raw) - len(raw) % 2
        self._half = raw[whole:]
        return np.frombuffer(raw[:whole], dtype="<i2")


class Encoder:
    """Turns one utterance's PCM into the sound of events.

    Args:
        rate: Of the PCM, in Hz.
        kind: audio/pcm, audio/pcmu or audio/pcma.
    """

    def __init__(self, rate: int, kind: str) -> None:
        self._kind = kind
        self._resampler = _resampler(rate, RATES[kind])
        self._piece = rate * 2 * _DELTA_MS // 1000

    def encode(self, pcm: bytes, *, last: bool) -> list[str]:
        """Return base64, in pieces of at most half a second.

        Args:
            pcm: PCM16LE, mono.
            last: Nothing follows: what the resampler holds back comes too.
        """
        pieces = [pcm[at : at + self._piece] for at in range(0, len(pcm), self._piece)]
        if last and self._resampler is not None:
            pieces.append(b"")
        sound = [self._convert(piece, last=last and piece is pieces[-1]) for piece in pieces]
        return [base64.b64encode(raw).decode() for raw in sound if raw]

    def _convert(self, pcm: bytes, *, last: bool) -> bytes:
        samples: Samples = np.frombuffer(pcm, dtype="<i2")
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples, last=last)
        if self._kind == "audio/pcm":
            return samples.astype("<i2").tobytes()
        return _nearest(self._kind)[samples.astype(np.int32) + 32768].tobytes()


def _resampler(source: int, target: int) -> Any:
    """A resampler, or None where none is needed."""
    if source == target:
        return None
    return soxr.ResampleStream(source, target, 1, dtype="int16", quality="LQ")


@cache
def _table(kind: str) -> Samples:
    """The PCM of each byte of G.711 (ITU-T G.711, tables 1a and 2a)."""
    code = np.arange(256, dtype=np.int32) ^ (0xFF if kind == "audio/pcmu" else 0x55)
    exponent, mantissa = (code >> 4) & 7, code & 15
    if kind == "audio/pcmu":
        size = (((mantissa << 3) + 0x84) << exponent) - 0x84
        negative = code & 0x80 != 0
    else:
        step = (mantissa << 4) + np.where(exponent == 0, 8, 0x108)
        size = step << np.maximum(exponent - 1, 0)
        negative = code & 0x80 == 0
    return np.where(negative, -size, size).astype(np.int16)


@cache
def _nearest(kind: str) -> npt.NDArray[np.uint8]:
    """For each sample from -32768 on, the byte of G.711 that comes nearest."""
    table = _table(kind).astype(np.int32)
    order = np.argsort(table, kind="stable")
    levels = table[order]
    borders = (levels[1:] + levels[:-1]) / 2
    samples = np.arange(-32768, 32768)
    # From the right: of the two zeros of the mu-law, silence is the positive one.
    return order[np.searchsorted(borders, samples, side="right")].astype(np.uint8)
