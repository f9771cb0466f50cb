"""The body of a speech answer in, PCM16LE, mono, at `RATE` out. No I/O."""

from __future__ import annotations

from typing import Final

from firsthop.agent.endpoints.garbage import GarbageError
from firsthop.agent.stages import RATE
from firsthop.speech.conversion import Converter, WavSound
from firsthop.speech.wav import Format, WavError

#: Of one request.
MAX_SECONDS: Final = 300
#: Less is kept until more comes, but at the end: 20 ms.
_PIECE: Final = RATE * 2 // 50
#: How many first bytes tell what a body is.
_MAGIC: Final = 4

#: What is no sound, by the beginnings of content types.
_TEXTS: Final = ("text/", "application/json", "application/problem+json", "application/xml")
_MP3: Final = {"audio/mpeg", "audio/mp3"}


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
        self._head = b""
        self._source: WavSound | Converter | None = None
        self._rate = rate
        self._ready = bytearray()
        self._left = MAX_SECONDS * RATE * 2

    def feed(self, body: bytes) -> bytes:
        """Return the sound that has come: 20 ms or more, or nothing.

        Raises:
            GarbageError: It is something else, or too much.
        """
        if self._source is None:
            self._head += body
            if len(self._head) < _MAGIC:
                return b""
            self._source, body = self._begin(self._head), self._head
            self._head = b""
        try:
            self._ready += self._source.feed(body)
        except WavError as error:
            raise GarbageError(f"sent {error}") from None
        return self._cut(0 if len(self._ready) < _PIECE else len(self._ready))

    def finish(self) -> bytes:
        """Return what was kept.

        Raises:
            GarbageError: It is too much.
        """
        if self._source is not None:
            self._ready += self._source.finish()
        return self._cut(len(self._ready))

    def _begin(self, head: bytes) -> WavSound | Converter:
        """Find out what the body is."""
        if head[:4] == b"RIFF":
            return WavSound(RATE)
        if self._asked == "wav":
            raise GarbageError(
                "was asked for WAV and sent something else: try agent.speech.format pcm"
            )
        if head[:3] == b"ID3" or _is_mpeg(head):
            raise _mp3(self._asked)
        return Converter(Format(self._rate), RATE)

    def _cut(self, size: int) -> bytes:
        piece = bytes(self._ready[:size])
        del self._ready[:size]
        self._left -= len(piece)
        if self._left < 0:
            raise GarbageError(f"sent more than {MAX_SECONDS // 60} minutes of sound at once")
        return piece


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
