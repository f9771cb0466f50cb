"""One turn, taken apart: when each stage was over, and what of it was the chain's own. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from firsthop.bench.endpoints import Answer
from firsthop.bench.endpoints import Stage as EndpointStage
from firsthop.bench.endpoints.plays import tokens
from firsthop.bench.errors import BenchError

#: What lies between two moments of a turn, as rows are called.
STAGES: Final = (
    "speech end → end of turn decided",
    "→ transcript",
    "→ first token",
    "→ first audio",
    "→ first packet with sound",
)


@dataclass(frozen=True, slots=True)
class Moments:
    """When the stages of one turn were over, in seconds of one clock."""

    speech_end: float
    """The last sample that can be heard has left the caller's microphone."""
    decided: float
    transcript: float
    token: float
    """The model's first."""
    audio: float
    """The synthesiser's first."""
    heard: float
    """The first packet with sound has reached the caller."""

    @property
    def stages_ms(self) -> list[float]:
        """How long each of `STAGES` took."""
        moments = (
            self.speech_end,
            self.decided,
            self.transcript,
            self.token,
            self.audio,
            self.heard,
        )
        return [(late - early) * 1000 for early, late in pairwise(moments)]

    @property
    def total_ms(self) -> float:
        """From the end of speech to the first packet with sound."""
        return (self.heard - self.speech_end) * 1000


@dataclass(frozen=True, slots=True)
class Log:
    """What the endpoints did for one turn.

    Args:
        answers: All that they answered since the turn began.
        reply: What the model said.

    Raises:
        BenchError: Some stage was not asked.
    """

    transcription: Answer
    chat: Answer
    speech: Answer
    needed: int
    """The last part of chat that what was said first had to wait for, counted from 0: the token
    behind it. Without that nobody knows that a sentence is over: "3." may become "3.14"."""

    @classmethod
    def of(cls, answers: Sequence[Answer], reply: str) -> Log:
        """Read what the endpoints log, for a reply of theirs.

        Raises:
            BenchError: A stage was not asked, or broke off, or said something else.
        """
        firsts: dict[EndpointStage, Answer] = {}
        for answer in answers:
            if answer.parts_ms:
                firsts.setdefault(answer.stage, answer)
        try:
            speech = firsts["speech"]
            needed = _completing(speech.text, reply) + 1
            return cls(firsts["transcription"], firsts["chat"], speech, needed)
        except KeyError as error:
            raise BenchError(f"nothing was asked of {error.args[0]} in a turn") from None

    def moments(self, speech_end: float, heard: float) -> Moments:
        """The turn as the endpoints saw it: it is decided when transcription is asked."""
        return Moments(
            speech_end,
            self.transcription.asked_at,
            _sent(self.transcription, 0),
            _sent(self.chat, 0),
            _sent(self.speech, 0),
            heard,
        )

    def own_ms(self, speech_end: float, heard: float, silence_s: float) -> float:
        """How long the caller waited for nothing but the chain itself, in ms.

        What is taken off is the silence that ends a turn, and after it the time in which an
        endpoint was at work for the first sound: from a request's arrival to the transcript, to the
        last token that was needed for what is said first, to the first audio.
        """
        over = speech_end + silence_s
        work = (
            (self.transcription, _sent(self.transcription, 0)),
            (self.chat, _sent(self.chat, self.needed)),
            (self.speech, _sent(self.speech, 0)),
        )
        waited = 0.0
        at = over
        for answer, done in work:
            begun = max(answer.asked_at, at)
            if done > begun:
                waited += done - begun
                at = done
        return (heard - over - waited) * 1000


def of_agent(times: Mapping[str, float], speech_end: float, heard: float) -> Moments:
    """The turn as firsthop's agent saw it: see `firsthop.agent.times`.

    Raises:
        BenchError: A stage was not reached.
    """
    try:
        return Moments(
            speech_end,
            times["decided"],
            times["transcript"],
            times["token"],
            times["audio"],
            heard,
        )
    except KeyError as error:
        raise BenchError(f"the agent had no {error.args[0]} in a turn") from None


def _sent(answer: Answer, part: int) -> float:
    """When a part was sent, in seconds."""
    return answer.asked_at + answer.parts_ms[part] / 1000


def _completing(said: str, reply: str) -> int:
    wanted = "".join(said.split())
    had = ""
    for number, token in enumerate(tokens(reply)):
        had += token.strip()
        if had.startswith(wanted):
            return number
    raise BenchError("something else was said than the model's reply")
