"""What a bot says in one turn, on its way to the call.

Bots pace their sound themselves and say nothing of where a turn ends on the wire: it ends when no
more comes. How long that is waited for depends on what the bot tells beside it.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import soxr

from firsthop.backends.pipecat.frames import Audio

#: Sound that may wait here, and how far ahead of real time it is handed on, in seconds. A bot that
#: is further ahead is read no further.
_AHEAD_SECONDS: Final = 30.0
#: Pieces among which words find room.
_MAX_PIECES: Final = 5000
#: After so long without sound a turn is over, in seconds: if the bot tells nothing of it ...
_GAP_SECONDS: Final = 0.5
#: ... if it said that it speaks: longer than it takes Pipecat to say that it has stopped ...
_PAUSE_SECONDS: Final = 3.5
#: ... and if it said that it has stopped: a sentence later it may say that it speaks again.
_STOPPED_SECONDS: Final = 0.25

Samples = npt.NDArray[np.int16]


class BotSpeech:
    """Iterate over it, once, for PCM16LE, mono, and for words that the sound after them says.

    Args:
        sample_rate: Of the PCM that comes out, in Hz.
        speaking: Whether the bot said that it speaks.
        paced: Whether it is played in real time; else it is handed on as it comes.
    """

    def __init__(self, sample_rate: int, *, speaking: bool = False, paced: bool = True) -> None:
        self._rate = sample_rate
        self._lead_s = _AHEAD_SECONDS if paced else math.inf
        self._now = asyncio.get_running_loop().time
        self._patience_s = _PAUSE_SECONDS if speaking else _GAP_SECONDS
        self._heard_at = self._now()
        self._pieces: deque[bytes | str] = deque()
        self._waiting_s = 0.0
        self._worded = False
        self._converter: _Converter | None = None
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self.over = False
        """Whether nothing that is added is said any more."""

    async def add(self, audio: Audio) -> None:
        """Add sound; wait while too much of it waits."""
        self._heard_at = self._now()
        source = (audio.sample_rate, audio.channels)
        if self._converter is not None and self._converter.source != source:
            self._queue(self._converter.flush())
            self._converter = None
        if self._converter is None:
            self._converter = _Converter(*source, self._rate)
        self._queue(self._converter.convert(audio.pcm))
        while self._waiting_s > _AHEAD_SECONDS and not self.over:
            self._room.clear()
            await self._room.wait()
        self._heard_at = self._now()

    def add_words(self, text: str) -> None:
        """Add words; without room they are left out."""
        if len(self._pieces) < _MAX_PIECES:
            # They come with the blanks between them or without.
            apart = self._worded and not text[:1].isspace()
            self._worded = True
            self._pieces.append(f" {text}" if apart else text)
            self._news.set()

    def expect(self, *, more: bool) -> None:
        """Take note that the bot says it speaks, or has stopped."""
        self._patience_s = _PAUSE_SECONDS if more else _STOPPED_SECONDS
        self._news.set()

    def end(self) -> None:
        """Nothing more follows."""
        self._patience_s = -math.inf
        self._news.set()

    def abandon(self) -> None:
        """Nobody listens any more."""
        self.over = True
        self._room.set()

    async def __aiter__(self) -> AsyncIterator[bytes | str]:
        """Yield the pieces until the turn is over."""
        started, handed_on_s = self._now(), 0.0
        try:
            while await self._more():
                piece = self._pieces.popleft()
                if isinstance(piece, bytes):
                    ahead_s = handed_on_s - (self._now() - started)
                    if ahead_s > self._lead_s:
                        await asyncio.sleep(ahead_s - self._lead_s)
                    handed_on_s += self._seconds(piece)
                    self._waiting_s -= self._seconds(piece)
                    self._room.set()
                yield piece
            if self._converter is not None and (rest := self._converter.flush()):
                yield rest
        finally:
            self.abandon()

    async def _more(self) -> bool:
        """Wait for a piece; return False when the turn is over."""
        while not self._pieces:
            over_at = self._heard_at + self._patience_s
            if self._now() >= over_at:
                # At once: what comes from here on belongs to another turn.
                self.over = True
                return False
            self._news.clear()
            try:
                async with asyncio.timeout_at(over_at):
                    await self._news.wait()
            except TimeoutError:
                pass
        return True

    def _queue(self, pcm: bytes) -> None:
        if pcm:
            self._pieces.append(pcm)
            self._waiting_s += self._seconds(pcm)
            self._news.set()

    def _seconds(self, pcm: bytes) -> float:
        return len(pcm) / (2 * self._rate)


class _Converter:
    """Makes sound of one kind mono, at another rate."""

    def __init__(self, rate: int, channels: int, target: int) -> None:
        self.source = (rate, channels)
        self._channels = channels
        self._resampler: Any = None
        if rate != target:
            # The quickest that is clean enough for speech; it holds back 2 to 20 ms.
            self._resampler = soxr.ResampleStream(rate, target, 1, dtype="int16", quality="LQ")

    def convert(self, pcm: bytes) -> bytes:
        samples: Samples = np.frombuffer(pcm, dtype="<i2")
        if self._channels > 1:
            samples = samples.reshape(-1, self._channels).mean(axis=1).astype(np.int16)
        return self._resampled(samples, last=False)

    def flush(self) -> bytes:
        """Return what was held back."""
        return self._resampled(np.empty(0, dtype=np.int16), last=True)

    def _resampled(self, samples: Samples, *, last: bool) -> bytes:
        if self._resampler is not None:
            samples = self._resampler.resample_chunk(samples, last=last)
        return samples.astype("<i2").tobytes()
