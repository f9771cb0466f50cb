"""The body of a speech answer in, PCM16LE, mono, at `RATE` out. No I/O."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import soxr

from firsthop.agent.endpoints.garbage import GarbageError
from firsthop.agent.endpoints.wav import Format, WavReader
from firsthop.agent.stages import RATE

#: Of one request.
MAX_SECONDS: Final = 300
#: Less is kept until more comes, but at the end: 20 ms.
_PIECE: Final = RATE * 2 // 50
#: How many first bytes tell what a body is.
_MAGIC: Final = 4

#: What is no sound, by the beginnings of content types.
_TEXTS: Final = ("text/", "application/json", "application/problem+json", "application/xml")
_MP3: Final = {"audio/mpeg", "audio/mp3"}

Samples = npt.NDArray[np.float32]


class Sound:
    """The sound of one answer.

    Args:
        asked: The format that was asked for: pcm or wav. A body that is WAV is read as such in any
            case, for it says so.
        rate: Of bare PCM, which is PCM16LE, mono, in Hz.
        content_type: What the server says it is, without parameters, in lower case.

    Raises:
        GarbageError: It is no sound, or of a kind that is not taken.
    """

    def __init__(self, asked: str, rate: int, content_type: str = "") -> None:
        if content_type.startswith(_TEXTS):
            raise GarbageError("answered with text and no sound: check agent.speech.url")
        if content_type in _MP3:
            raise _mp3(asked)
        self._asked = asked
        self._head: bytes | None = b""
        self._wav: WavReader | None = None
        self._converter: _Converter | None = None
        self._rate = rate
        self._ready = bytearray()
        self._left = MAX_SECONDS * RATE * 2

    def feed(self, body: bytes) -> bytes:
        """Return the sound that has come: 20 ms or more, or nothing.

        Raises:
            GarbageError: It is something else, or too much.
        """
        if self._head is not None:
            self._head += body
            if len(self._head) < _MAGIC:
                return b""
            body = self._begin(self._head)
            self._head = None
        if self._wav is not None:
            body = self._wav.feed(body)
            if self._converter is None and self._wav.format is not None:
                self._converter = _Converter(self._wav.format)
        if self._converter is not None:
            self._ready += self._converter.feed(body)
        return self._cut(0 if len(self._ready) < _PIECE else len(self._ready))

    def finish(self) -> bytes:
        """Return what was kept.

        Raises:
            GarbageError: It is too much.
        """
        if self._converter is not None:
            self._ready += self._converter.finish()
        return self._cut(len(self._ready))

    def _begin(self, head: bytes) -> bytes:
        """Find out what the body is."""
        if head[:4] == b"RIFF":
            self._wav = WavReader()
        elif self._asked == "wav":
            raise GarbageError(
                "was asked for WAV and sent something else: try agent.speech.format pcm"
            )
        elif head[:3] == b"ID3" or _is_mpeg(head):
            raise _mp3(self._asked)
        else:
            self._converter = _Converter(Format(self._rate))
        return head

    def _cut(self, size: int) -> bytes:
        piece = bytes(self._ready[:size])
        del self._ready[:size]
        self._left -= len(piece)
        if self._left < 0:
            raise GarbageError(f"sent more than {MAX_SECONDS // 60} minutes of sound at once")
        return piece


class _Converter:
    """Makes PCM16LE, mono, at `RATE`, of any format."""

    def __init__(self, source: Format) -> None:
        self._source = source
        self._as_it_is = source == Format(RATE)
        self._rest = b""
        self._resampler: Any = None
        if source.rate != RATE:
            self._resampler = soxr.ResampleStream(source.rate, RATE, 1, "float32", quality="MQ")

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


def _mp3(asked: str) -> GarbageError:
    other = "wav" if asked == "pcm" else "pcm"
    return GarbageError(
        f"was asked for {asked.upper()} and sent MP3: try agent.speech.format {other}"
    )


def _is_mpeg(head: bytes) -> bool:
    """Whether these may be the first bytes of MPEG layer III (ISO 11172-3 §2.4.1.3).

    Bare PCM begins like that only by a sudden noise.
    """
    synchronised = head[0] == 0xFF and head[1] & 0xE6 == 0xE2 and head[1] & 0x18 != 0x08
    return synchronised and head[2] >> 4 not in {0, 15} and head[2] >> 2 & 3 != 3
