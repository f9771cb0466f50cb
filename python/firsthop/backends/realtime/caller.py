"""The caller's sound on its way to the server: all of it, or the turns that firsthop hears.

A server that hears turns itself gets everything. One that does not gets what belongs to a turn and
no more: it would take the silence before for a part of it. Without turn detection the client says
where a turn ends, and everything is sent.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from firsthop.call import AudioFrame

#: Speech is noticed late by as much, in milliseconds.
_NOTICE_MS: Final = 500


class Caller:
    """Decides what of the caller's sound is sent.

    Args:
        sample_rate: Of the sound, in Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._bytes_per_ms = sample_rate * 2 / 1000
        self._recent: deque[AudioFrame] = deque()
        self._speaking = False
        self.at_ms = 0
        """Where what was heard ends, in milliseconds since the first audio of the call."""

    def hear(self, frame: AudioFrame, *, everything: bool, padding_ms: int) -> bytes:
        """Take a frame; return what is sent now: PCM16LE, mono.

        Args:
            frame: Follows the one before.
            everything: Whether silence is sent too.
            padding_ms: How much of what was before a turn belongs to it.
        """
        self.at_ms = frame.at_ms + round(len(frame.pcm) / self._bytes_per_ms)
        if everything or self._speaking:
            self._recent.clear()
            return frame.pcm
        self._recent.append(frame)
        while self._recent[0].at_ms < frame.at_ms - padding_ms - _NOTICE_MS:
            self._recent.popleft()
        return b""

    def start(self, at_ms: int, padding_ms: int) -> bytes:
        """A turn begins; return what of it has been heard."""
        self._speaking = True
        first = at_ms - padding_ms
        heard = b"".join(frame.pcm for frame in self._recent if frame.at_ms >= first)
        self._recent.clear()
        return heard

    def stop(self) -> None:
        """The turn is over."""
        self._speaking = False
