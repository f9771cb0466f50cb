"""What the endpoints answer, when, and what goes wrong."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

Stage = Literal["transcription", "chat", "speech"]
STAGES: Final[tuple[Stage, ...]] = ("transcription", "chat", "speech")

#: What is said and answered unless the script has something else.
TRANSCRIPT: Final = "What time is it?"
REPLY: Final = "It is a quarter past three. Is there anything else that you would like to know?"

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Delay:
    """How long something takes: lognormal, or always the same if `spread` is 0."""

    median_ms: float = 0.0
    spread: float = 0.0
    """Of the logarithm, one standard deviation: with 0.3, one in 20 takes 1.6 times the median."""

    def draw(self, chance: random.Random) -> float:
        """Return one delay in ms."""
        return self.median_ms * math.exp(self.spread * chance.gauss())


@dataclass(frozen=True, kw_only=True)
class Delays:
    """How long the parts of answers take. By default nothing."""

    transcript: Delay = Delay()
    """From a turn's sound to its text."""
    first_token: Delay = Delay()
    next_token: Delay = Delay()
    first_audio: Delay = Delay()


@dataclass(frozen=True)
class Heard:
    """What was to be transcribed."""

    pcm: bytes = field(repr=False)
    """PCM16LE, mono."""
    rate: int
    language: str | None
    prompt: str | None
    model: str


@dataclass(frozen=True)
class Reply:
    """What the model says, and the tools that it calls: pairs of a name and JSON."""

    text: str = ""
    tools: tuple[tuple[str, str], ...] = ()
    finish_reason: str | None = None
    """None: stop, or tool_calls if there are some."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """What the endpoints answer."""

    transcript: str | Callable[[Heard], str] = TRANSCRIPT
    reply: str | Reply | Callable[[Mapping[str, Any]], str | Reply] = REPLY
    """What the model answers; a function of the request's body."""
    delays: Delays = Delays()
    seed: int = 0
    """Of the delays. Each answer draws its own, so that those beside it change nothing."""
    speed: float | None = None
    """How many times as fast as real time speech comes; None: at once."""
    api_key: str | None = None
    """Whoever does not show it gets 401; None: all are welcome."""

    def chance(self, stage: Stage, number: int) -> random.Random:
        """What a stage's answer draws its delays from, answers counted from 0."""
        return random.Random(f"{self.seed}/{stage}/{number}")


def in_turn(*answers: Answer) -> Callable[[object], Answer]:
    """Make a function that returns the answers one after the other, the last again and again."""
    left = list(answers)

    def answer(_: object) -> Answer:
        return left.pop(0) if len(left) > 1 else left[0]

    return answer


Kind = Literal[
    "close", "reset", "hang", "status", "answer", "html", "garbage", "stop", "end", "stall", "drip"
]


@dataclass(frozen=True)
class Fault:
    """How an endpoint goes wrong.

    - close: closes the connection without an answer; reset: resets it.
    - hang: takes the request and never answers.
    - status: answers with `status` and an error body, after the usual delay.
    - answer: answers 200 with `content_type` and `body`, whatever they are.
    - html: answers 200 with a page; garbage: with random bytes that claim to be the right thing.
    - stop: closes the connection after `after` parts, in the middle of the body.
    - end: ends the body after `after` parts, as if that were all.
    - stall: says no more after `after` parts.
    - drip: sends the right answer, but a byte every `every_ms`.
    """

    kind: Kind
    status: int = field(default=500, kw_only=True)
    headers: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    """More headers."""
    body: bytes = field(default=b"", kw_only=True)
    content_type: str = field(default="text/event-stream", kw_only=True)
    after: int = field(default=1, kw_only=True)
    every_ms: float = field(default=20.0, kw_only=True)
