"""What is said when a stage has failed: made ahead, since what fails may be what speaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, Literal

import structlog

from firsthop.agent.stages import StageError, Synthesiser
from firsthop.call import Reply
from firsthop.tasks import cancel

log = structlog.get_logger()

Occasion = Literal["hearing", "answer"]
_TEXTS: Final[dict[Occasion, str]] = {
    "hearing": "Sorry, I could not hear that. Please say it again.",
    "answer": "Sorry, something went wrong on my side. Please try again.",
}


class Apologies:
    """Sentences of apology, in the synthesiser's own voice.

    Args:
        synthesiser: Makes them, once.
    """

    def __init__(self, synthesiser: Synthesiser) -> None:
        self._synthesiser = synthesiser
        self._sound: dict[Occasion, bytes] = {}
        self._making: asyncio.Task[None] | None = None

    def prepare(self) -> None:
        """Begin to make them, unless that is done or under way."""
        if self._making is None and len(self._sound) < len(_TEXTS):
            self._making = asyncio.create_task(self._make(), name="apologies")

    async def close(self) -> None:
        """Make no more."""
        if self._making is not None:
            await cancel(self._making)

    async def say(self, occasion: Occasion, reply: Reply) -> None:
        """Apologise: aloud if that can be, in any case in words."""
        sound = self._sound.get(occasion)
        if sound is None:
            self.prepare()

        async def speech() -> AsyncIterator[bytes | str]:
            yield _TEXTS[occasion]
            if sound is not None:
                yield sound

        await reply.say(speech()).made()

    async def _make(self) -> None:
        try:
            for occasion, text in _TEXTS.items():
                if occasion not in self._sound:
                    async with self._synthesiser.speak(text) as pieces:
                        self._sound[occasion] = b"".join([piece async for piece in pieces])
        except StageError as error:
            log.warning("apologies.not_made", code=error.code)
        finally:
            self._making = None
