"""What an agent says, and what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from firsthop._native import OpusPacket

#: What is said: PCM as a whole, or in pieces as they are made; a piece that is text has the words
#: that the sound after it says.
Speech = bytes | AsyncIterable[bytes] | AsyncIterable[bytes | str]

#: A piece of sound on its way to the line: PCM, or Opus packets; ``b""`` is nothing of either.
Sound = bytes | Sequence[OpusPacket]


@dataclass(frozen=True, slots=True)
class Place:
    """Where sound belongs: a part of an item of a response of the conversation."""

    response_id: str
    item_id: str
    output_index: int = 0
    content_index: int = 0


@dataclass(frozen=True, slots=True)
class Played:
    """What became of something said."""

    ms: int
    """How much of it was sent to the caller, in milliseconds."""
    interrupted: bool
    """Whether it was stopped before its end."""


class Playback:
    """Something being said. Await it to learn, once it is over, how much was played.

    Awaiting raises what the pieces of a stream raised, unless they were interrupted.
    """

    def __init__(self, text: str, place: Place | None = None) -> None:
        self.text = text
        """What is said, as far as the agent told."""
        self.place = place
        """Where it belongs, if the backend announced that itself."""
        self._played: asyncio.Future[Played] = asyncio.get_running_loop().create_future()
        self._feeder: asyncio.Task[None] | None = None
        self._made = asyncio.Event()
        self._stopped = False
        self._failure: Exception | None = None

    async def made(self) -> None:
        """Wait until all of its sound was made, or it was stopped; it may be heard for long after.

        Raises what the pieces of a stream raised, unless they were stopped.
        """
        await self._made.wait()
        if self._failure is not None and not self._stopped:
            raise self._failure

    @property
    def done(self) -> bool:
        """Whether it is over."""
        return self._played.done()

    @property
    def failed(self) -> bool:
        """Whether the pieces of a stream raised."""
        return self._failure is not None

    def __await__(self) -> Generator[Any, None, Played]:
        # Shielded: whoever stops waiting does not stop the speech.
        return asyncio.shield(self._played).__await__()

    def _stop(self) -> None:
        """Let nothing be added any more."""
        self._stopped = True
        self._made.set()
        if self._feeder is not None:
            self._feeder.cancel()

    def _settle(self, played: Played) -> None:
        """Tell how it ended."""
        if self._failure is not None and not played.interrupted:
            self._played.set_exception(self._failure)
        else:
            self._played.set_result(played)
