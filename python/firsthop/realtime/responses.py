"""Responses of an agent of ours, as the contract tells of them: created, filled, done.

A response has items, which are told of one after the other, in the order in which the agent began
them. What happens to an item before its turn comes is kept, and told then.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from firsthop.call import Place, ToolRun, Usage
from firsthop.realtime.conversation import words
from firsthop.realtime.events import new_id
from firsthop.realtime.output import Emit

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


class Response:
    """A response from its announcement to its end.

    Args:
        session: The Realtime session as it is for this response.
        metadata: What the client attached to it.
        apart: Whether its items stay out of the conversation.
        begin: Called once, when it is announced, unless it is over by then.
    """

    def __init__(
        self,
        session: Mapping[str, Any],
        *,
        metadata: Mapping[str, Any] | None = None,
        apart: bool = False,
        begin: Callable[[], None] | None = None,
    ) -> None:
        self.id = new_id("resp")
        self.items: list[OutputItem] = []
        #: Whether it was told of, and whether more items may come.
        self.announced = False
        self.open = True
        self.usage: Usage | None = None
        self._session = session
        self._metadata = metadata
        self._apart = apart
        self._begin = begin
        self._told = 0
        self._cancelled: str | None = None
        self._incomplete: str | None = None
        self._failure: dict[str, Any] | None = None

    @property
    def speaks(self) -> bool:
        """Whether what it says is heard, and not read."""
        return "audio" in self._session["output_modalities"]

    @property
    def over(self) -> bool:
        """Whether nothing more happens to it but to be told of."""
        return not self.open and all(item.outcome is not None for item in self.items)

    def add(self, item: OutputItem) -> None:
        """Let an item be the next."""
        item.response_id, item.output_index = self.id, len(self.items)
        self.items.append(item)

    def remove(self, item: OutputItem) -> None:
        """Forget an item that was not told of, and is the last or leaves a gap."""
        self.items.remove(item)
        for index, later in enumerate(self.items):
            later.output_index = index

    def close(self) -> None:
        """Let no more items come."""
        self.open = False

    def cancel(self, reason: str) -> None:
        """End it before its end. Speech that is being heard is waited for, to tell how much was.

        Args:
            reason: turn_detected or client_cancelled.
        """
        if self._cancelled is None and not self.over:
            self._cancelled = reason
            self.open = False
            for item in self.items:
                item.abandon()

    def fail(self, code: str) -> None:
        """Take note that something went wrong; `code` is a word for programs."""
        self._failure = self._failure or {"type": "server_error", "code": code}

    def cut(self, reason: str) -> None:
        """Take note that it ends before it is complete: max_output_tokens or content_filter."""
        self._incomplete = self._incomplete or reason

    def advance(self, emit: Emit, previous: Callable[[], str | None]) -> bool:
        """Tell what can be told by now; return whether that was all of it.

        Args:
            emit: Takes the events.
            previous: Returns the latest item of the conversation.
        """
        if not self.announced:
            self.announced = True
            created = self._object("in_progress", [])
            emit({"type": "response.created", "response": created})
            if self._begin is not None and self.open:
                self._begin()
        while self._told < len(self.items):
            item = self.items[self._told]
            item.announce(emit, previous(), apart=self._apart)
            if item.outcome is None:
                return False
            self._told += 1
            item.finish(emit)
        if self.open:
            return False
        output = [item.item(item.status) for item in self.items]
        emit({"type": "response.done", "response": self._object(self._outcome(), output)})
        return True

    def _outcome(self) -> str:
        outcomes = {item.outcome for item in self.items}
        if self._failure is not None or "failed" in outcomes:
            return "failed"
        if self._cancelled is not None or "cancelled" in outcomes:
            return "cancelled"
        return "incomplete" if self._incomplete else "completed"

    def _details(self, status: str) -> dict[str, Any] | None:
        match status:
            case "cancelled":
                reasons = [item.reason for item in self.items if item.reason]
                reason = self._cancelled or next(iter(reasons), "client_cancelled")
                return {"type": "cancelled", "reason": reason}
            case "failed":
                error = self._failure or {"type": "server_error", "code": "agent_failed"}
                return {"type": "failed", "error": error}
            case "incomplete":
                return {"type": "incomplete", "reason": self._incomplete}
        return None

    def _object(self, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": self._details(status),
            "output": output,
            "output_modalities": self._session["output_modalities"],
            "max_output_tokens": self._session["max_output_tokens"],
            "metadata": self._metadata,
            "usage": None if self.usage is None else _usage(self.usage),
        }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
    }


@dataclass(eq=False, slots=True)
class OutputItem(ABC):
    """An item of a response."""

    item_id: str = field(default_factory=lambda: new_id("item"), init=False)
    response_id: str = field(default="", init=False)
    output_index: int = field(default=0, init=False)
    announced: bool = field(default=False, init=False)
    #: How it ended: completed, cancelled or failed; None while it is under way.
    outcome: str | None = field(default=None, init=False)
    #: Why it was cancelled, if it was.
    reason: str = field(default="", init=False)
    #: What happened to it before it was announced.
    held: list[dict[str, Any]] = field(default_factory=list, init=False)
    _emit: Emit | None = field(default=None, init=False)
    _previous: str | None = field(default=None, init=False)
    _apart: bool = field(default=False, init=False)

    @abstractmethod
    def item(self, status: str) -> dict[str, Any]:
        """The item, as it is: in_progress, completed or incomplete."""

    @abstractmethod
    def begin(self, emit: Emit) -> None:
        """Tell what is in it from the start."""

    @abstractmethod
    def complete(self, emit: Emit) -> None:
        """Tell that nothing more of it follows."""

    def abandon(self) -> None:
        """Its response is cancelled."""
        if self.outcome is None:
            self.outcome = "cancelled"

    def announce(self, emit: Emit, previous: str | None, *, apart: bool) -> None:
        """Tell of the item, then what happened to it by now. Once."""
        if self.announced:
            return
        self.announced = True
        self._previous, self._apart = previous, apart
        item = self.item("in_progress")
        emit({"type": "response.output_item.added", **self.position(), "item": item})
        self._tell_conversation(emit, "conversation.item.added", item)
        self.begin(emit)
        for event in self.held:
            emit(event)
        self.held.clear()
        self._emit = emit

    def finish(self, emit: Emit) -> None:
        """Tell that what is in the item is complete, then that the item is."""
        self._emit = None
        self.complete(emit)
        item = self.item(self.status)
        emit({"type": "response.output_item.done", **self.position(), "item": item})
        self._tell_conversation(emit, "conversation.item.done", item)

    def tell(self, event: dict[str, Any]) -> None:
        """Tell of a change, now or when the item is told of."""
        if self._emit is None:
            self.held.append(event)
        else:
            self._emit(event)

    @property
    def status(self) -> str:
        """How it is told of once it is over."""
        return "completed" if self.outcome == "completed" else "incomplete"

    def position(self) -> dict[str, Any]:
        """Where the item stands in the response."""
        return {"response_id": self.response_id, "output_index": self.output_index}

    @property
    def place(self) -> Place:
        """Where the item's only part belongs."""
        return Place(self.response_id, self.item_id, self.output_index)

    def where(self) -> dict[str, Any]:
        """The same for an event."""
        return asdict(self.place)

    def _tell_conversation(self, emit: Emit, kind: str, item: dict[str, Any]) -> None:
        if not self._apart:
            emit({"type": kind, "item": item, "previous_item_id": self._previous})


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


@dataclass(eq=False, slots=True)
class ToolCall(OutputItem):
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

    def begin(self, emit: Emit) -> None:
        """Tell the arguments."""
        kind = "response.function_call_arguments.delta"
        emit({"type": kind, **self._call(), "delta": self.arguments})

    def complete(self, emit: Emit) -> None:
        """Tell the arguments again, whole."""
        kind = "response.function_call_arguments.done"
        emit({"type": kind, **self._call(), "name": self.name, "arguments": self.arguments})

    def _call(self) -> dict[str, Any]:
        return {**self.position(), "item_id": self.item_id, "call_id": self.call_id}


@dataclass(eq=False, slots=True)
class ToolUse(OutputItem, ToolRun):
    """A tool that the agent uses itself: the contract's ``mcp_call``, whoever's tool it is."""

    server: str
    name: str
    arguments: str
    output: str | None = field(default=None, init=False)
    error: str | None = field(default=None, init=False)

    def done(self, output: str) -> None:
        """Take note of what came of it."""
        if self.outcome is None:
            self.outcome, self.output = "completed", output

    def failed(self, message: str) -> None:
        """Take note that nothing came of it."""
        if self.outcome is None:
            self.outcome, self.error = "completed", message

    def item(self, status: str) -> dict[str, Any]:
        """A call of a tool that the client has no part in."""
        error = None
        if self.error is not None:
            error = {"type": "tool_execution_error", "message": self.error}
        return {
            "id": self.item_id,
            "type": "mcp_call",
            "server_label": self.server,
            "name": self.name,
            "arguments": self.arguments,
            "output": self.output,
            "error": error,
        }

    def begin(self, emit: Emit) -> None:
        """Tell the arguments, and that it runs."""
        kind = "response.mcp_call_arguments.done"
        where = {**self.position(), "item_id": self.item_id}
        emit({"type": kind, **where, "arguments": self.arguments})
        emit({"type": "response.mcp_call.in_progress", **self._call()})

    def complete(self, emit: Emit) -> None:
        """Tell that it has run."""
        good = self.output is not None
        kind = "response.mcp_call.completed" if good else "response.mcp_call.failed"
        emit({"type": kind, **self._call()})

    def _call(self) -> dict[str, Any]:
        return {"output_index": self.output_index, "item_id": self.item_id}
