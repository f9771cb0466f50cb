"""What waits to be sent to a bot, in order: the caller's sound, and messages between it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from firsthop.backends.pipecat.frames import Audio, Frame

#: Sound that may wait, in seconds. Older sound goes first.
_MAX_SOUND_SECONDS: Final = 5.0
#: Other frames that may wait.
_MAX_FRAMES: Final = 200


class Outbox:
    """A bounded queue."""

    def __init__(self) -> None:
        self._waiting: deque[Frame] = deque()
        self._seconds = 0.0
        self._others = 0
        self._news = asyncio.Event()
        self.lost_seconds = 0.0
        """How much sound was left out because there was no room."""

    def put(self, frame: Frame) -> bool:
        """Add a frame; return False if there is no room for one that is no sound."""
        if isinstance(frame, Audio):
            self._seconds += _seconds(frame)
        elif self._others >= _MAX_FRAMES:
            return False
        else:
            self._others += 1
        self._waiting.append(frame)
        while self._seconds > _MAX_SOUND_SECONDS:
            self._drop_oldest_sound()
        self._news.set()
        return True

    async def get(self) -> Frame:
        """Wait for the next frame."""
        while not self._waiting:
            self._news.clear()
            await self._news.wait()
        frame = self._waiting.popleft()
        if isinstance(frame, Audio):
            self._seconds -= _seconds(frame)
        else:
            self._others -= 1
        return frame

    def _drop_oldest_sound(self) -> None:
        number, oldest = next(
            (number, frame)
            for number, frame in enumerate(self._waiting)
            if isinstance(frame, Audio)
        )
        del self._waiting[number]
        self._seconds -= _seconds(oldest)
        self.lost_seconds += _seconds(oldest)


def _seconds(frame: Audio) -> float:
    return len(frame.pcm) / (2 * frame.channels * frame.sample_rate)
