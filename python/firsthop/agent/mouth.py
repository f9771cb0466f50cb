"""Speech of an answer: sentence by sentence, the next one made while the last is still coming.

What is said is an iterator for `Reply.say`: the words of a sentence, then its sound. A sentence
that no sound can be made of is still told in words, and so are those after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

import structlog

from firsthop.agent.sentences import Sentences, spoken
from firsthop.agent.stages import StageError, Synthesiser
from firsthop.tasks import cancel

log = structlog.get_logger()

_BROKEN: Final = StageError("speech_failed", "speech could not be made")
#: Sentences that are made at the same time: the one that is said, and the next.
_AHEAD: Final = 2
#: Pieces of sound that wait for the caller's line, of the size that the stage makes.
_MAX_WAITING: Final = 64


class _Sentence:
    """One sentence on its way to sound."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.pieces: asyncio.Queue[bytes | None] = asyncio.Queue(_MAX_WAITING)


class Mouth:
    """Says one text that grows.

    Args:
        synthesiser: Makes the sound.
        voice: Whose; None: the synthesiser's own.
        heard: Whether there is to be sound at all.
        sounded: Called when sound goes out.
    """

    def __init__(
        self,
        synthesiser: Synthesiser,
        voice: str | None,
        *,
        heard: bool,
        sounded: Callable[[], None],
    ) -> None:
        self._synthesiser = synthesiser
        self._voice = voice
        self._heard = heard
        self._sounded = sounded
        self._sentences = Sentences()
        self._said: asyncio.Queue[_Sentence | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(_AHEAD)
        self._work: set[asyncio.Task[None]] = set()
        #: What went wrong, if something did: the rest is words only.
        self.failure: StageError | None = None

    def add(self, text: str) -> None:
        """Add to the text; it may end anywhere."""
        if not self._heard:
            return self._put(text)
        for sentence in self._sentences.feed(text):
            self._put(sentence)

    def finish(self) -> None:
        """Add no more."""
        for sentence in self._sentences.finish() if self._heard else ():
            self._put(sentence)
        self._said.put_nowait(None)

    async def speech(self) -> AsyncIterator[bytes | str]:
        """Yield words and sound, until all is said."""
        try:
            while (sentence := await self._said.get()) is not None:
                yield sentence.text
                while self._heard and (piece := await sentence.pieces.get()) is not None:
                    self._sounded()
                    yield piece
        finally:
            await self.close()

    async def close(self) -> None:
        """Let go of what is not said yet."""
        await cancel(*self._work)

    def _put(self, text: str) -> None:
        if not text:
            return
        sentence = _Sentence(text)
        self._said.put_nowait(sentence)
        if self._heard:
            task = asyncio.create_task(self._make(sentence))
            self._work.add(task)
            task.add_done_callback(self._work.discard)

    async def _make(self, sentence: _Sentence) -> None:
        async with self._room:
            words = spoken(sentence.text)
            if words and self.failure is None:
                try:
                    async with self._synthesiser.speak(words, voice=self._voice) as pieces:
                        async for piece in pieces:
                            await sentence.pieces.put(piece)
                except StageError as error:
                    self.failure = self.failure or error
                except Exception as error:
                    # A mistake in a stage: the words are told, and nobody waits for the sound.
                    log.error("speech.failed", error=repr(error), exc_info=error)
                    self.failure = self.failure or _BROKEN
            await sentence.pieces.put(None)
