"""Responses of an agent of ours, as the contract tells of them: created, filled, done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from firsthop.call import Place
from firsthop.realtime.conversation import words
from firsthop.realtime.events import new_id
from firsthop.realtime.output import Emit
from firsthop.realtime.session import Session

#: How fast people speak when nothing better is known, in characters per second.
_PACE: Final = 15


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


@dataclass(eq=False, slots=True)
class Response(ABC):
    """A response from its announcement to its end."""

    session: Session
    id: str = field(default_factory=lambda: new_id("resp"), init=False)
    announced: bool = field(default=False, init=False)
    #: How it ended: completed, cancelled or failed; None while it is under way.
    outcome: str | None = field(default=None, init=False)
    reason: str = field(default="", init=False)

    def announce(self, emit: Emit, previous: str | None) -> None:
        """Tell that it is under way, after the item `previous`."""
        emit({"type": "response.created", "response": self._object("in_progress", [])})
        self.begin(emit, previous)

    def finish(self, emit: Emit) -> None:
        """Tell how it ended."""
        outcome = self.outcome or "completed"
        output = self.complete(emit, "completed" if outcome == "completed" else "incomplete")
        emit({"type": "response.done", "response": self._object(outcome, output)})

    @abstractmethod
    def begin(self, emit: Emit, previous: str | None) -> None:
        """Tell what is in it."""

    @abstractmethod
    def complete(self, emit: Emit, status: str) -> list[dict[str, Any]]:
        """Tell that nothing more of it follows; return its items."""

    def _object(self, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        details: dict[str, Any] | None = None
        if status == "cancelled":
            details = {"type": "cancelled", "reason": self.reason or "client_cancelled"}
        elif status == "failed":
            error = {"type": "server_error", "code": "agent_failed"}
            details = {"type": "failed", "error": error}
        session = self.session.value
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": details,
            "output": output,
            "output_modalities": session["output_modalities"],
            "max_output_tokens": session["max_output_tokens"],
            "metadata": None,
            "usage": None,
        }


@dataclass(eq=False, slots=True)
class Silence(Response):
    """The answer of an agent that has none."""

    def __post_init__(self) -> None:
        self.outcome = "completed"

    def begin(self, emit: Emit, previous: str | None) -> None:
        """Have nothing to tell."""

    def complete(self, emit: Emit, status: str) -> list[dict[str, Any]]:
        """Have no items."""
        return []


@dataclass(eq=False, slots=True)
class OneItem(Response):
    """A response of one item."""

    item_id: str = field(default_factory=lambda: new_id("item"), init=False)
    previous: str | None = field(default=None, init=False)

    @abstractmethod
    def item(self, status: str) -> dict[str, Any]:
        """The item, as it is: in_progress, completed or incomplete."""

    @abstractmethod
    def begin_content(self, emit: Emit) -> None:
        """Tell what is in the item."""

    @abstractmethod
    def complete_content(self, emit: Emit) -> None:
        """Tell that nothing more of it follows."""

    def begin(self, emit: Emit, previous: str | None) -> None:
        """Tell of the item, then what is in it."""
        self.previous = previous
        item = self.item("in_progress")
        emit({"type": "response.output_item.added", **self.position(), "item": item})
        emit({"type": "conversation.item.added", "item": item, "previous_item_id": previous})
        self.begin_content(emit)

    def complete(self, emit: Emit, status: str) -> list[dict[str, Any]]:
        """Tell that what is in the item is complete, then that the item is."""
        self.complete_content(emit)
        item = self.item(status)
        emit({"type": "response.output_item.done", **self.position(), "item": item})
        emit({"type": "conversation.item.done", "item": item, "previous_item_id": self.previous})
        return [item]

    def position(self) -> dict[str, Any]:
        """Where the item stands in the response."""
        return {"response_id": self.id, "output_index": 0}

    @property
    def place(self) -> Place:
        """Where the item's only part belongs."""
        return Place(self.id, self.item_id)

    def where(self) -> dict[str, Any]:
        """The same for an event."""
        return asdict(self.place)


@dataclass(eq=False, slots=True)
class Speech(OneItem):
    """Something that the agent says."""

    text: str
    #: Sound in events that waits for the announcement.
    held: list[dict[str, Any]] = field(default_factory=list, init=False)
    #: How much sound has been made.
    length_ms: float = field(default=0.0, init=False)
    #: What of the text was heard, as far as that is known.
    transcript: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self.transcript = self.text

    def item(self, status: str) -> dict[str, Any]:
        """A message of the assistant."""
        content = [] if status == "in_progress" else [self._part("output_audio")]
        return message_item(self.item_id, "assistant", status, content)

    def begin_content(self, emit: Emit) -> None:
        """Tell its text, and the sound that waited."""
        part = {"type": "audio", "transcript": ""}
        emit({"type": "response.content_part.added", **self.where(), "part": part})
        if self.text:
            kind = "response.output_audio_transcript.delta"
            emit({"type": kind, **self.where(), "delta": self.text})
        for event in self.held:
            emit(event)
        self.held.clear()

    def complete_content(self, emit: Emit) -> None:
        """Tell its text again, whole."""
        where = self.where()
        emit({"type": "response.output_audio.done", **where})
        kind = "response.output_audio_transcript.done"
        emit({"type": kind, **where, "transcript": self.transcript})
        emit({"type": "response.content_part.done", **where, "part": self._part("audio")})

    def heard(self, ms: int) -> str:
        """What of the text was heard in the first `ms`, as far as that can be told."""
        # Of a stream that was not complete, the text may be far ahead of the sound.
        whole = self.outcome == "completed"
        total_ms = self.length_ms if whole else len(self.text) * 1000 / _PACE
        return words(self.text, ms / total_ms if total_ms else 1.0)

    def _part(self, kind: str) -> dict[str, Any]:
        return {"type": kind, "transcript": self.transcript}


@dataclass(eq=False, slots=True)
class Writing(OneItem):
    """Something that the agent says and that is only read. It is complete when it is announced."""

    text: str

    def __post_init__(self) -> None:
        self.outcome = "completed"

    def item(self, status: str) -> dict[str, Any]:
        """A message of the assistant."""
        part = {"type": "output_text", "text": self.text}
        return message_item(
            self.item_id, "assistant", status, [] if status == "in_progress" else [part]
        )

    def begin_content(self, emit: Emit) -> None:
        """Tell the text."""
        where, part = self.where(), {"type": "text", "text": ""}
        emit({"type": "response.content_part.added", **where, "part": part})
        emit({"type": "response.output_text.delta", **where, "delta": self.text})

    def complete_content(self, emit: Emit) -> None:
        """Tell it again, whole."""
        where, part = self.where(), {"type": "text", "text": self.text}
        emit({"type": "response.output_text.done", **where, "text": self.text})
        emit({"type": "response.content_part.done", **where, "part": part})


@dataclass(eq=False, slots=True)
class ToolCall(OneItem):
    """A function that the client is to call. It is complete when it is announced."""

    name: str
    arguments: str
    call_id: str = field(default_factory=lambda: new_id("call"), init=False)

    def __post_init__(self) -> None:
        self.outcome = "completed"

    def item(self, status: str) -> dict[str, Any]:
        """A function call."""
        return {
            "object": "realtime.item",
            "id": self.item_id,
            "type": "function_call",
            "status": status,
            "call_id": self.call_id,
            "name": self.name,
            "arguments": "" if status == "in_progress" else self.arguments,
        }

    def begin_content(self, emit: Emit) -> None:
        """Tell the arguments."""
        kind = "response.function_call_arguments.delta"
        emit({"type": kind, **self._call(), "delta": self.arguments})

    def complete_content(self, emit: Emit) -> None:
        """Tell the arguments again, whole."""
        kind = "response.function_call_arguments.done"
        emit({"type": kind, **self._call(), "name": self.name, "arguments": self.arguments})

    def _call(self) -> dict[str, Any]:
        return {**self.position(), "item_id": self.item_id, "call_id": self.call_id}
