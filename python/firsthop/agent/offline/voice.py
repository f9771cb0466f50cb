"""A voice that needs no keys: espeak-ng, a process per sentence, heard as it speaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import numpy as np

from firsthop.agent.endpoints.sound import Sound
from firsthop.agent.stages import RATE, StageError, Synthesiser
from firsthop.errors import BackendError
from firsthop.speech import espeak

#: Sentences that are made at the same time; others wait for their turn.
_AT_ONCE: Final = 8
#: The longest text, in characters.
_MAX_TEXT: Final = 5_000
#: Quieter than this is the silence before the first word, of which callers need none.
_SILENCE: Final = 100


class EspeakSynthesiser(Synthesiser):
    """Speaks English, with the voice that this machine has; names of other voices are ignored."""

    def __init__(self) -> None:
        self._voice = espeak.default_voice()
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def prepare(self) -> None:
        """Make sure that espeak-ng is there."""
        espeak.check()

    @asynccontextmanager
    async def speak(
        self, text: str, *, voice: str | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Say a sentence."""
        async with self._room:
            try:
                async with self._voice.speaking(text[:_MAX_TEXT]) as wav:
                    yield _sound(wav)
            except BackendError as error:
                raise StageError("speech_failed", f"espeak-ng cannot speak: {error}") from None


async def _sound(wav: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    sound, silent = Sound("wav", RATE), True
    async for piece in wav:
        pcm = sound.feed(piece)
        if silent:
            pcm = _from_first_sound(pcm)
            silent = not pcm
        if pcm:
            yield pcm
    if rest := sound.finish():
        yield rest


def _from_first_sound(pcm: bytes) -> bytes:
    loud = np.nonzero(np.abs(np.frombuffer(pcm, dtype="<i2").astype(np.int32)) > _SILENCE)[0]
    return pcm[2 * int(loud[0]) :] if len(loud) else b""
