"""What a server says, on its way to the call. It comes faster than it is played."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final

#: How far ahead of real time sound is handed on, in seconds. The line takes minutes, not hours.
_LEAD_SECONDS: Final = 60.0
_BYTES_PER_SECOND: Final = 48_000


class Speech:
    """The sound of one part of a response: PCM16LE, mono, 24 kHz, in pieces as they come.

    What bounds it is the bridge, which counts what was received and not played.

    Args:
        paced: Whether it is played in real time; else it is handed on as it comes.
        clock: Returns the time in seconds.
    """

    def __init__(self, *, paced: bool = True, clock: Callable[[], float] = time.monotonic) -> None:
        self._lead_s = _LEAD_SECONDS if paced else math.inf
        self._clock = clock
        self._pieces: deque[bytes] = deque()
        self._ended = False
        self._news = asyncio.Event()
        self._taken = asyncio.Event()

    def add(self, pcm: bytes) -> None:
        """Add sound; a piece may end within a sample."""
        self._pieces.append(pcm)
        self._taken.clear()
        self._news.set()

    def end(self) -> None:
        """Nothing more follows."""
        self._ended = True
        self._news.set()

    def abandon(self) -> None:
        """Nobody takes it any more."""
        self._taken.set()

    async def taken(self) -> None:
        """Wait until everything so far was handed on, or it was abandoned."""
        await self._taken.wait()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the pieces, at most so far ahead of real time."""
        started, handed_on = self._clock(), 0
        while True:
            while self._pieces:
                ahead = handed_on / _BYTES_PER_SECOND - (self._clock() - started)
                if ahead > self._lead_s:
                    await asyncio.sleep(ahead - self._lead_s)
                piece = self._pieces.popleft()
                handed_on += len(piece)
                yield piece
            self._taken.set()
            if self._ended:
                return
            self._news.clear()
            await self._news.wait()
