"""The stages of a voice agent: what hears, what thinks, what speaks. Each streams.

All sound is PCM16LE, mono, at `RATE`. A stage is one object for all calls. What it raises when it
fails is a `StageError`, whose words can be shown to users.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final

from firsthop.call import Usage as Usage
from firsthop.errors import BackendError

#: Of all sound between stages, in Hz.
RATE: Final = 24_000


class StageError(BackendError):
    """A stage did not do its work.

    Args:
        code: A word for programs, which begins with the stage: chat_timeout.
        message: Shown to users as it is. It holds no key and nothing that was said.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Stage(ABC):  # noqa: B024 (what is optional in all)
    """What all stages have in common."""

    async def prepare(self) -> None:  # noqa: B027 (most need nothing)
        """Get ready before the first call: check what is needed, load what is slow.

        Raises:
            FirsthopError: It cannot work; says what to do. An endpoint that is down does not
                raise: it may be up when it is needed.
        """

    async def close(self) -> None:  # noqa: B027 (most hold nothing)
        """Let go of connections and processes."""


class Hearing(ABC):
    """One turn of a caller, while it is heard."""

    @abstractmethod
    def feed(self, pcm: bytes) -> None:
        """Take the next sound of the turn, as it comes. Never blocks."""

    @abstractmethod
    async def finish(self, audio: bytes) -> str:
        """Return what was said; empty if nothing was.

        Args:
            audio: The whole turn. What was fed is about the same, less what came before the turn
                was noticed; with push-to-talk nothing is fed.

        Raises:
            StageError: It cannot be told.
        """

    @abstractmethod
    def abandon(self) -> None:
        """The turn is not wanted after all. May come at any time, and after `finish`."""


class Transcriber(Stage):
    """Turns speech into text."""

    @abstractmethod
    def listen(self, *, language: str | None = None, prompt: str | None = None) -> Hearing:
        """Begin to hear a turn.

        Args:
            language: What is spoken, as en, if that is known.
            prompt: Words that are likely.
        """


@dataclass(frozen=True, slots=True)
class Text:
    """The next piece of the model's answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """A tool that the model wants to be called. It is complete."""

    call_id: str
    name: str
    arguments: str
    """JSON, as the model words it: it may be anything."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The answer ends here though it is not complete: max_output_tokens or content_filter."""

    reason: str


Thought = Text | ToolRequest | Usage | Cut


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a model is asked."""

    messages: Sequence[Mapping[str, Any]]
    """As in ``/chat/completions``: role (system, user, assistant, tool), content, tool_calls,
    tool_call_id."""
    tools: Sequence[Mapping[str, Any]] = ()
    """As in the Realtime API, flat: type function, name, description, parameters (JSON Schema)."""
    tool_choice: str | Mapping[str, Any] = "auto"
    """auto, none, required, or ``{"type": "function", "name": ...}``."""
    max_output_tokens: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    """More for the request's body."""


class Model(Stage):
    """Turns a conversation into an answer."""

    #: What it says by itself when a call begins; None: it waits.
    greeting: str | None = None

    @abstractmethod
    def think(self, prompt: Prompt) -> AbstractAsyncContextManager[AsyncIterator[Thought]]:
        """Answer. Used as ``async with model.think(prompt) as thoughts: async for ...``.

        Leaving the block, however it comes, ends the work at once and closes what was opened.

        Raises:
            StageError: While entering, or from the iteration when it stops halfway: what was
                yielded before stands.
        """


class Synthesiser(Stage):
    """Turns text into speech."""

    @abstractmethod
    def speak(
        self, text: str, *, voice: str | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Say a sentence: the block yields sound as it is made, PCM16LE, mono, at `RATE`.

        Leaving the block, however it comes, ends the work at once and closes what was opened.

        Args:
            text: A sentence or a few; never empty.
            voice: A name, as the session has it; None, or one it does not know: its own.

        Raises:
            StageError: While entering, or from the iteration when it stops halfway: what was
                yielded before stands.
        """
