"""A voice that needs no network and no model: espeak-ng, as a process of its own."""

from __future__ import annotations

import asyncio
import io
import shutil
import wave
from functools import cache

import numpy as np
import soxr

from firsthop.errors import BackendError

_PROGRAM = "espeak-ng"


def check() -> None:
    """Make sure that espeak-ng is there.

    Raises:
        BackendError: It is not; says how to get it.
    """
    if shutil.which(_PROGRAM) is None:
        raise BackendError(
            "the local agent speaks with espeak-ng, which is not installed: "
            "`apt-get install espeak-ng` (or `brew install espeak-ng`), "
            "or choose another backend, as with FIRSTHOP_BACKEND=echo"
        )


class Voice:
    """Makes speech of text. What was said once is kept."""

    def __init__(self, *, words_per_minute: int = 165, pitch: int = 45) -> None:
        self._options = ("-s", str(words_per_minute), "-p", str(pitch), "-v", "en-us")
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

    async def _make(self, text: str, sample_rate: int) -> bytes:
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
            sound, complaint = await process.communicate(text.encode())
        finally:
            if process.returncode is None:
                # Whoever wanted to hear it has gone.
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise BackendError(f"{_PROGRAM}: {complaint.decode(errors='replace').strip()}")
        return _resample(sound, sample_rate)


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
