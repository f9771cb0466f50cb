"""What an agent says, as items: heard, or only read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from firsthop.realtime.conversation import words
from firsthop.realtime.output import Emit
from firsthop.realtime.outputitems import OutputItem

#: How fast people speak when nothing better is known, in characters per second.
_PACE: Final = 15


@dataclass(eq=False, slots=True)
class Speech(OutputItem):
    """Something that the agent says."""

    text: str = ""
    #: How much sound has been made.
    length_ms: float = field(default=0.0, init=False)
    #: What of the text was heard, as far as that is known.
    transcript: str = field(default="", init=False)
    #: Where in the text (in characters) and in the sound (in ms) each piece of text begins.
    _marks: list[tuple[int, float]] = field(default_factory=lambda: [(0, 0.0)], init=False)

    def __post_init__(self) -> None:
        self.transcript = self.text

    def word(self, text: str) -> None:
        """Add words, which the sound that comes next says."""
        if self._marks[-1][1] == self.length_ms:
            # No sound came between: what is said next says all of it.
            position = self._marks.pop()[0]
        else:
            position = len(self.text)
        self._marks.append((position, self.length_ms))
        self.text += text
        self.transcript = self.text
        kind = "response.output_audio_transcript.delta"
        self.tell({"type": kind, **self.where(), "delta": text})

    def sound(self, ms: float, deltas: list[str]) -> None:
        """Add sound; `deltas` are for who gets it in events."""
        self.length_ms += ms
        for delta in deltas:
            self.tell({"type": "response.output_audio.delta", **self.where(), "delta": delta})

    def item(self, status: str) -> dict[str, Any]:
        """A message of the assistant."""
        content = [] if status == "in_progress" else [self._part("output_audio")]
        return message_item(self.item_id, "assistant", status, content)

    def begin(self, emit: Emit) -> None:
        """Tell the text that was known from the start."""
        part = {"type": "audio", "transcript": ""}
        emit({"type": "response.content_part.added", **self.where(), "part": part})

    def complete(self, emit: Emit) -> None:
        """Tell its text again, whole."""
        where = self.where()
        emit({"type": "response.output_audio.done", **where})
        kind = "response.output_audio_transcript.done"
        emit({"type": kind, **where, "transcript": self.transcript})
        emit({"type": "response.content_part.done", **where, "part": self._part("audio")})

    def abandon(self) -> None:
        """Its response is cancelled: how much was heard is told when it is known."""

    def heard(self, ms: float) -> str:
        """What of the text was heard in the first `ms`, as far as that can be told."""
        last = max(
            index for index, (_, begin_ms) in enumerate(self._marks) if begin_ms <= ms or index == 0
        )
        begin, begin_ms = self._marks[last]
        if last + 1 < len(self._marks):
            end, end_ms = self._marks[last + 1]
        else:
            end, end_ms = len(self.text), self.length_ms
            if self.outcome != "completed":
                # Of a stream that was not complete, the text may be far ahead of the sound.
                end_ms = begin_ms + (end - begin) * 1000 / _PACE
        share = (ms - begin_ms) / (end_ms - begin_ms) if end_ms > begin_ms else 1.0
        return self.text[:begin] + words(self.text[begin:end], share)

    def _part(self, kind: str) -> dict[str, Any]:
        return {"type": kind, "transcript": self.transcript}


@dataclass(eq=False, slots=True)
class Writing(OutputItem):
    """Something that the agent says and that is only read."""

    text: str = ""

    def word(self, text: str) -> None:
        """Add words."""
        self.text += text
        self.tell({"type": "response.output_text.delta", **self.where(), "delta": text})

    def item(self, status: str) -> dict[str, Any]:
        """A message of the assistant."""
        part = {"type": "output_text", "text": self.text}
        return message_item(
            self.item_id, "assistant", status, [] if status == "in_progress" else [part]
        )

    def begin(self, emit: Emit) -> None:
        """Tell that there will be text."""
        part = {"type": "text", "text": ""}
        emit({"type": "response.content_part.added", **self.where(), "part": part})

    def complete(self, emit: Emit) -> None:
        """Tell it again, whole."""
        where, part = self.where(), {"type": "text", "text": self.text}
        emit({"type": "response.output_text.done", **where, "text": self.text})
        emit({"type": "response.content_part.done", **where, "part": part})


def message_item(
    item_id: str, role: str, status: str, content: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return an item of the conversation that is a message."""
    return {
        "object": "realtime.item",
        "id": item_id,
        "type": "message",
        "role": role,
        "status": status,
        "content": content,
    }
