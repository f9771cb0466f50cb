"""Stages that do as the test says, for the agent between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from firsthop.agent.stages import (
    RATE,
    Hearing,
    Model,
    Prompt,
    StageError,
    Synthesiser,
    Thought,
    Transcriber,
)

#: A tenth of a second that can be heard.
SOUND = b"\x00\x10" * (RATE // 10)
Step = Thought | StageError | asyncio.Event


class Heard(Hearing):
    """One turn."""

    def __init__(self, ears: ScriptedTranscriber) -> None:
        self._ears = ears
        self.fed = 0
        self.abandoned = False
        ears.open.append(self)

    def feed(self, pcm: bytes) -> None:
        """Count."""
        self.fed += len(pcm)

    async def finish(self, audio: bytes) -> str:
        """Say what the script has next."""
        self._ears.finished.append(self)
        step = self._ears.script.pop(0) if self._ears.script else "and so on"
        if isinstance(step, asyncio.Event):
            await step.wait()
            step = self._ears.script.pop(0)
        if isinstance(step, StageError):
            raise step
        assert isinstance(step, str)
        return step

    def abandon(self) -> None:
        """Be done."""
        if self in self._ears.open:
            self._ears.open.remove(self)
        self.abandoned = True


class ScriptedTranscriber(Transcriber):
    """Hears what the test says."""

    def __init__(self, *script: str | StageError | asyncio.Event) -> None:
        self.script = list(script)
        self.open: list[Heard] = []
        self.finished: list[Heard] = []
        self.wanted: list[tuple[str | None, str | None]] = []

    def listen(self, *, language: str | None = None, prompt: str | None = None) -> Hearing:
        """Begin a turn."""
        self.wanted.append((language, prompt))
        return Heard(self)


class ScriptedModel(Model):
    """Thinks what the test says, an answer at a time; an event in it is waited for."""

    def __init__(self, *answers: Sequence[Step]) -> None:
        self.answers = [list(answer) for answer in answers]
        self.prompts: list[Prompt] = []
        self.open = 0

    @asynccontextmanager
    async def think(self, prompt: Prompt) -> AsyncIterator[AsyncIterator[Thought]]:
        """Think."""
        self.prompts.append(prompt)
        steps = self.answers.pop(0) if self.answers else []
        self.open += 1
        try:
            yield self._steps(steps)
        finally:
            self.open -= 1

    async def _steps(self, steps: Sequence[Step]) -> AsyncIterator[Thought]:
        for step in steps:
            if isinstance(step, asyncio.Event):
                await step.wait()
            elif isinstance(step, StageError):
                raise step
            else:
                yield step


@dataclass
class ToneSynthesiser(Synthesiser):
    """Makes `SOUND` of every text."""

    said: list[str] = field(default_factory=list)
    voices: list[str | None] = field(default_factory=list)
    failure: Exception | None = None
    gate: asyncio.Event | None = None
    open: int = 0

    @asynccontextmanager
    async def speak(
        self, text: str, *, voice: str | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Say it."""
        self.said.append(text)
        self.voices.append(voice)
        if self.failure is not None:
            raise self.failure
        self.open += 1
        try:
            yield self._sound()
        finally:
            self.open -= 1

    async def _sound(self) -> AsyncIterator[bytes]:
        yield SOUND
        if self.gate is not None:
            await self.gate.wait()
