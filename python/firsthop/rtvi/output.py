"""What the bot makes and says, as RTVI tells of it: as text of a model, and sentence by sentence.

A sentence is a segment: it is told of when its words are known, and again when it was heard. Of an
answer that is interrupted, only what was heard whole would be told again; how far it came is not.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from firsthop.rtvi.messages import Message, message

_SENTENCE: Final = re.compile(r"[.!?…]+[\"'”’)\]]*\s+|[。！？]+")  # noqa: RUF001
#: Without an end for so long, in characters, a piece is a sentence all the same.
_LONGEST: Final = 2000
#: Responses that may be under way, or wait to be heard.
_MAX_RESPONSES: Final = 32
#: Sentences of one response that may wait to be heard.
_MAX_SEGMENTS: Final = 500


@dataclass(slots=True)
class _Answer:
    """A response, as far as it was told of."""

    done: bool = False
    playing: bool = False
    #: Of the part that is being made: its beginning, which is no whole sentence.
    rest: str = ""
    told: bool = False
    #: Sentences that will be heard.
    segments: list[tuple[int, str]] = field(default_factory=list)


class Output:
    """Follows the responses of one call."""

    def __init__(self) -> None:
        self._answers: dict[str, _Answer] = {}
        self._numbers = itertools.count(1)

    @property
    def answering(self) -> bool:
        """Whether a response is being made."""
        return any(not answer.done for answer in self._answers.values())

    @property
    def speaking(self) -> bool:
        """Whether a response is heard."""
        return any(answer.playing for answer in self._answers.values())

    def created(self, response_id: str) -> Iterator[Message]:
        """A response begins."""
        while len(self._answers) >= _MAX_RESPONSES:
            del self._answers[next(iter(self._answers))]
        self._answers[response_id] = _Answer()
        yield message("bot-llm-started")

    def text(self, response_id: str, text: str, *, spoken: bool) -> Iterator[Message]:
        """More words of it; `spoken` if they will be heard."""
        answer = self._answers.get(response_id, _Answer())
        yield message("bot-llm-text", {"text": text})
        if spoken:
            yield message("bot-tts-text", {"text": text})
        answer.told = True
        answer.rest += text
        while (cut := _first_sentence(answer.rest)) is not None:
            sentence, answer.rest = answer.rest[:cut], answer.rest[cut:]
            yield from self._sentence(answer, sentence, spoken=spoken)

    def text_done(self, response_id: str, text: str, *, spoken: bool) -> Iterator[Message]:
        """All words of a part of it."""
        answer = self._answers.get(response_id, _Answer())
        if not answer.told and text:
            yield from self.text(response_id, text, spoken=spoken)
        rest, answer.rest, answer.told = answer.rest, "", False
        yield from self._sentence(answer, rest, spoken=spoken)

    def done(self, response_id: str) -> Iterator[Message]:
        """It is made."""
        answer = self._answers.get(response_id)
        if answer is not None:
            answer.done = True
            if not answer.playing and not answer.segments:
                del self._answers[response_id]
        yield message("bot-llm-stopped")

    def started(self, response_id: str) -> Iterator[Message]:
        """It begins to be heard."""
        self._answers.setdefault(response_id, _Answer(done=True)).playing = True
        yield message("bot-started-speaking")

    def stopped(self, response_id: str) -> Iterator[Message]:
        """It was heard to its end."""
        for number, text in self._heard(response_id):
            yield _segment(number, text, "completed")
        yield message("bot-stopped-speaking")

    def cleared(self, response_id: str) -> Iterator[Message]:
        """It was interrupted."""
        self._heard(response_id)
        yield message("bot-interrupted")
        yield message("bot-stopped-speaking")

    def _heard(self, response_id: str) -> list[tuple[int, str]]:
        """Return the sentences that waited to be heard, and forget them."""
        answer = self._answers.get(response_id, _Answer())
        answer.playing = False
        segments, answer.segments = answer.segments, []
        if answer.done:
            self._answers.pop(response_id, None)
        return segments

    def _sentence(self, answer: _Answer, text: str, *, spoken: bool) -> Iterator[Message]:
        text = text.strip()
        if not text:
            return
        number = next(self._numbers)
        if spoken and len(answer.segments) < _MAX_SEGMENTS:
            answer.segments.append((number, text))
        yield message("bot-transcription", {"text": text})
        yield _segment(number, text, "new", spoken=spoken)


def _first_sentence(text: str) -> int | None:
    """Where the first sentence ends, if it does."""
    found = _SENTENCE.search(text)
    if found is not None:
        return found.end()
    return _LONGEST if len(text) >= _LONGEST else None


def _segment(number: int, text: str, status: str, *, spoken: bool = True) -> Message:
    heard = status == "completed"
    data = {
        "text": text,
        "output_type": "sentence",
        "aggregated_by": "sentence",
        "segment_id": number,
        "will_be_spoken": spoken,
        "spoken_status": status,
        # For clients of the first version.
        "spoken": heard,
    }
    if spoken:
        progress = {
            "accumulated_text": text if heard else "",
            "remaining_text": "" if heard else text,
        }
        data["spoken_progress"] = progress
    return message("bot-output", data)
