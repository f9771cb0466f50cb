"""What an end sends, in its order and at a pace that the loop bears.

A client may send minutes of sound in one event. It is heard in pieces, with room between them for
the other calls, and what the client sent behind it waits until it was heard.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from firsthop.errors import EventError

#: Sound that may wait, in bytes as it came: two of the contract's largest events.
MAX_WAITING_BYTES: Final = 32 * 1024 * 1024
#: Sound that is heard before others get their turn, in ms.
_PIECE_MS: Final = 100

Deed = Callable[[], None]
Decode = Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class _Sound:
    """One event's sound, not decoded yet."""

    size: int
    decode: Decode


class Intake:
    """Keeps sound and events in order.

    Args:
        sample_rate: Of the PCM, in Hz.
        hear: Takes a piece of sound, PCM16LE, mono.
    """

    def __init__(self, sample_rate: int, hear: Callable[[bytes], None]) -> None:
        self._piece = sample_rate * 2 * _PIECE_MS // 1000
        self._hear = hear
        self._waiting: deque[bytes | Deed | _Sound] = deque()
        self._bytes = 0
        self._scheduled: asyncio.Handle | None = None

    def sound(self, size: int, decode: Decode) -> None:
        """Take sound.

        Args:
            size: Of what waits, in bytes.
            decode: Returns PCM16LE, mono. What was sent before may change how, so it is called
                when that was done.

        Raises:
            EventError: Too much waits already; nothing was taken.
        """
        if self._bytes + size > MAX_WAITING_BYTES:
            raise EventError("input_audio_buffer_full", "more sound waits than can be kept")
        self._bytes += size
        self._waiting.append(_Sound(size, decode))
        self._go_on()

    def event(self, deed: Deed) -> None:
        """Take what an event asks for, and do it: now, if nothing is before it."""
        if self._waiting:
            self._waiting.append(deed)
        else:
            deed()

    def close(self) -> None:
        """Take nothing more."""
        self._waiting.clear()
        if self._scheduled is not None:
            self._scheduled.cancel()

    def _go_on(self) -> None:
        if self._scheduled is None and self._waiting:
            self._scheduled = asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._scheduled = None
        first = self._waiting.popleft()
        try:
            if isinstance(first, bytes):
                self._hear(first)
            elif isinstance(first, _Sound):
                self._bytes -= first.size
                self._cut(first.decode())
            else:
                first()
        finally:
            self._go_on()

    def _cut(self, pcm: bytes) -> None:
        """Hear the first piece, and let the others go before all that waits."""
        pieces = [pcm[at : at + self._piece] for at in range(0, len(pcm), self._piece)]
        self._waiting.extendleft(reversed(pieces[1:]))
        if pieces:
            self._hear(pieces[0])
