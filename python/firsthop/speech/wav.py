"""WAV: the header that goes before sound, and the sound in files that come as a stream. No I/O."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

#: Most that may come before the sound, in bytes.
_MAX_HEADER: Final = 64 * 1024
#: From here on, and 0: the length was not known yet when the header was written.
_UNKNOWN: Final = 0x7FFF0000
_PCM: Final = 1
_FLOAT: Final = 3
_EXTENSIBLE: Final = 0xFFFE
#: The last 14 bytes of the GUIDs of formats that have a tag (KSDATAFORMAT_SUBTYPE_WAVEFORMATEX).
_GUID: Final = bytes.fromhex("000000001000800000aa00389b71")
#: Samples that are taken: is it floating point, and how many bits.
_SAMPLES: Final = {(False, 16), (False, 24), (False, 32), (True, 32)}


class WavError(Exception):
    """What came is no WAV, or of a kind that is not taken.

    Args:
        problem: What it is instead, as in "a WAV whose header has no end".
    """


@dataclass(frozen=True, slots=True)
class Format:
    """What samples are, little-endian, and channels interleaved."""

    rate: int
    channels: int = 1
    bits: int = 16
    floating: bool = False

    @property
    def frame(self) -> int:
        """Bytes of a sample of all channels."""
        return self.channels * self.bits // 8


def header(rate: int, length: int) -> bytes:
    """The header before `length` bytes of PCM16LE, mono."""
    form = struct.pack("<HHIIHH", _PCM, 1, rate, rate * 2, 2, 16)
    sizes = struct.pack("<4sI4s4sI", b"RIFF", 36 + length, b"WAVE", b"fmt ", len(form))
    return sizes + form + struct.pack("<4sI", b"data", length)


class WavReader:
    """Takes a file as it comes, and returns the sound in it.

    Attributes:
        format: Of the sound; None until the header is read.
    """

    def __init__(self) -> None:
        self.format: Format | None = None
        self._held = bytearray()
        self._header = 0
        self._left: int | None = None
        self._within = False

    def feed(self, data: bytes) -> bytes:
        """Return the sound that has come.

        Raises:
            WavError: It is no WAV, or of a kind that is not taken.
        """
        if not self._within:
            self._held += data
            if not self._read_header():
                return b""
            data = bytes(self._held)
            self._held.clear()
        if self._left is not None:
            # Chunks may follow the sound: names, cue points.
            data = data[: self._left]
            self._left -= len(data)
        return data

    def _read_header(self) -> bool:
        """Read chunks until the sound begins; whether it does."""
        if self._header == 0:
            if len(self._held) < 12:
                return False
            if self._held[:4] != b"RIFF" or self._held[8:12] != b"WAVE":
                raise WavError("something that is no WAV")
            self._take(12)
        while len(self._held) >= 8:
            name, size = struct.unpack_from("<4sI", self._held)
            if name == b"data":
                self._take(8)
                return self._begin(size)
            if self._header + size > _MAX_HEADER:
                raise WavError("a WAV whose header has no end")
            # Chunks begin at even places.
            whole = 8 + size + size % 2
            if len(self._held) < whole:
                return False
            if name == b"fmt ":
                self.format = _format(bytes(self._held[8 : 8 + size]))
            self._take(whole)
        return False

    def _begin(self, size: int) -> bool:
        if self.format is None:
            raise WavError("a WAV that does not say what its sound is")
        self._left = None if size == 0 or size >= _UNKNOWN else size
        self._within = True
        return True

    def _take(self, size: int) -> None:
        del self._held[:size]
        self._header += size


def _format(chunk: bytes) -> Format:
    if len(chunk) < 16:
        raise WavError("a WAV that does not say what its sound is")
    tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == _EXTENSIBLE and len(chunk) >= 40 and chunk[26:40] == _GUID:
        (tag,) = struct.unpack_from("<H", chunk, 24)
    floating = tag == _FLOAT
    if tag not in {_PCM, _FLOAT} or (floating, bits) not in _SAMPLES:
        raise WavError("a WAV that is neither PCM of 16 to 32 bits nor 32-bit float")
    if not 1 <= channels <= 8 or not 8_000 <= rate <= 192_000:
        raise WavError("a WAV of more channels, or another rate, than speech has")
    return Format(rate, channels, bits, floating)
