"""A voice that needs no network and no model: espeak-ng, as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import io
import shutil
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

import numpy as np
import soxr

from firsthop.errors import BackendError

_PROGRAM = "espeak-ng"
#: What is read at once, in bytes.
_PIECE = 16 * 1024


def check() -> None:
    """Make sure that espeak-ng is there.

    Raises:
        BackendError: It is not; says how to get it.
    """
    if shutil.which(_PROGRAM) is None:
        raise BackendError(
            "the offline voice is espeak-ng, which is not installed: "
            "`apt-get install espeak-ng` (or `brew install espeak-ng`), "
            "or set agent.speech.url to a server that speaks"
        )


class Voice:
    """Makes speech of text. What was said once is kept.

    Args:
        words_per_minute: How fast it speaks.
        pitch: How high, 0 to 99.
        name: Whose voice, as espeak-ng calls it.
    """

    def __init__(
        self, *, words_per_minute: int = 165, pitch: int = 45, name: str = "en-us"
    ) -> None:
        self._options = ("-s", str(words_per_minute), "-p", str(pitch), "-v", name)
        self._made: dict[tuple[str, int], bytes] = {}

    async def speak(self, text: str, sample_rate: int) -> bytes:
        """Return `text` as PCM16LE, mono, at `sample_rate` Hz.

        Raises:
            BackendError: espeak-ng failed, or is not there.
        """
        key = (text, sample_rate)
        if key not in self._made:
            if len(self._made) >= 256:
                self._made.clear()
            self._made[key] = await self._make(text, sample_rate)
        return self._made[key]

    @asynccontextmanager
    async def speaking(self, text: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Say `text`: the block yields a WAV file as it is made. Leaving it ends the process.

        Raises:
            BackendError: espeak-ng failed, or is not there; while entering, or at the end.
        """
        check()
        process = await asyncio.create_subprocess_exec(
            _PROGRAM,
            *self._options,
            "--stdout",
            "--stdin",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield _output(process, text.encode())
        finally:
            if process.returncode is None:
                # Whoever wanted to hear it has gone.
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    async def _make(self, text: str, sample_rate: int) -> bytes:
        async with self.speaking(text) as pieces:
            sound = b"".join([piece async for piece in pieces])
        return _resample(sound, sample_rate)


async def _output(process: asyncio.subprocess.Process, text: bytes) -> AsyncIterator[bytes]:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(text)
        process.stdin.close()
    while piece := await process.stdout.read(_PIECE):
        yield piece
    complaint = await process.stderr.read(_PIECE)
    if await process.wait() != 0:
        raise BackendError(f"{_PROGRAM}: {complaint.decode(errors='replace').strip()}")


def _resample(sound: bytes, sample_rate: int) -> bytes:
    if not sound:
        return b""  # Of no text it makes nothing, not even a header.
    # espeak-ng streams: the length in its WAV header is a placeholder, so read to the end.
    with wave.open(io.BytesIO(sound)) as reader:
        rate = reader.getframerate()
    pcm = np.frombuffer(sound[44 : len(sound) - len(sound) % 2], dtype="<i2")
    resampled: bytes = soxr.resample(pcm, rate, sample_rate).astype("<i2").tobytes()
    return resampled


@cache
def default_voice() -> Voice:
    """The voice that all calls share."""
    return Voice()
