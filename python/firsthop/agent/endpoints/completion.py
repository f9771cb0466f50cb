"""The body of a chat answer, as it comes: server-sent events, or one JSON object. No I/O.

Servers that cannot stream answer with the object though they were asked for events; which of the
two it is shows at its first character.
"""

from __future__ import annotations

import json
from typing import Any, Final

from firsthop.agent.endpoints.garbage import FailedError, GarbageError
from firsthop.agent.endpoints.sse import EventStream
from firsthop.agent.endpoints.thinking import Thinking
from firsthop.agent.endpoints.toolcalls import ToolCalls
from firsthop.agent.stages import Cut, Text, Thought, Usage

#: Longest body, in bytes. A stream takes 200 for a word.
_MAX_BYTES: Final = 4 * 1024 * 1024
_BLANKS: Final = b" \t\r\n"
_MARK: Final = b"\xef\xbb\xbf"
_DONE: Final = "[DONE]"
#: Why an answer ended early, as servers word it and as `Cut` does.
_CUTS: Final = {
    "length": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "content_filter": "content_filter",
}


class Completion:
    """One answer.

    Attributes:
        finished: The model has ended; what may still come is what it took.
        over: Nothing comes any more.
        events: Events so far.
    """

    def __init__(self) -> None:
        self.finished = False
        self.over = False
        self.events = 0
        self._size = 0
        self._head = b""
        self._object: bytearray | None = None
        self._stream: EventStream | None = None
        self._thinking = Thinking()
        self._calls = ToolCalls()

    def feed(self, body: bytes) -> list[Thought]:
        """Return what is complete now. Text comes in the order of the model, calls after it.

        Raises:
            GarbageError: It is no answer of a chat.
            FailedError: The server says that it failed.
        """
        self._size += len(body)
        if self._size > _MAX_BYTES:
            raise GarbageError("answered with far too much")
        if self._object is None and self._stream is None:
            body = self._begin(body)
        if self._object is not None:
            self._object += body
            return []
        return self._read(self._stream.feed(body)) if self._stream else []

    def finish(self) -> list[Thought]:
        """Return what the end of the body completes. It is for the caller to see if it `finished`.

        Raises:
            GarbageError: It was no answer of a chat.
            FailedError: The server says that it failed.
        """
        if self._object is not None:
            whole = _object(self._object)
            thoughts = self._chunk(whole)
            if not whole.get("choices"):
                raise GarbageError("answered with something that is no chat completion")
            return thoughts if self.finished else [*thoughts, *self._end(cut=False)]
        thoughts = self._read(self._stream.finish()) if self._stream else []
        if not self.events:
            raise GarbageError("answered with something that is no chat completion")
        return thoughts

    def _begin(self, body: bytes) -> bytes:
        """Find out what the body is; return all of it so far, or nothing if that takes more."""
        head = (self._head + body).lstrip(_BLANKS)
        begin = head.removeprefix(_MARK).lstrip(_BLANKS)
        if not begin or _MARK.startswith(head):
            self._head = head[: len(_MARK)]
            return b""
        self._head = b""
        if begin[:1] == b"{":
            self._object = bytearray()
            return begin
        self._stream = EventStream()
        return begin

    def _read(self, events: list[str]) -> list[Thought]:
        thoughts: list[Thought] = []
        for event in events:
            if self.over:
                break
            self.events += 1
            if event.strip() == _DONE:
                self.over = True
                thoughts += self._end(cut=False)
            else:
                thoughts += self._chunk(_object(event))
        return thoughts

    def _chunk(self, chunk: dict[str, Any]) -> list[Thought]:
        if chunk.get("error"):
            raise FailedError
        thoughts: list[Thought] = []
        choices = chunk.get("choices") or []
        if not isinstance(choices, list):
            raise GarbageError("sent choices that are no list")
        for choice in choices[:1]:
            thoughts += self._choice(choice)
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            thoughts.append(
                Usage(_count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))
            )
        return thoughts

    def _choice(self, choice: Any) -> list[Thought]:
        if not isinstance(choice, dict):
            raise GarbageError("sent a choice that is no object")
        # In an answer that is not streamed it is called a message.
        delta = choice.get("delta") or choice.get("message") or {}
        if not isinstance(delta, dict):
            raise GarbageError("sent a delta that is no object")
        said = self._thinking.feed(_content(delta.get("content")) + _content(delta.get("refusal")))
        thoughts: list[Thought] = [Text(said)] if said else []
        if delta.get("tool_calls"):
            self._calls.feed(delta["tool_calls"])
        reason = choice.get("finish_reason")
        if reason:
            cut = _CUTS.get(reason) if isinstance(reason, str) else None
            first = not self.finished
            thoughts += self._end(cut=cut is not None)
            if cut is not None and first:
                thoughts.append(Cut(cut))
        return thoughts

    def _end(self, *, cut: bool) -> list[Thought]:
        """Return what is only known to be complete at the end."""
        self.finished = True
        rest = self._thinking.finish()
        return [*([Text(rest)] if rest else []), *self._calls.finish(cut=cut)]


def _object(text: str | bytes | bytearray) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise GarbageError("sent something that is no JSON") from None
    if not isinstance(value, dict):
        raise GarbageError("sent something that is no JSON object")
    return value


def _content(content: Any) -> str:
    """Text, which some servers give in typed parts."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _count(value: Any) -> int:
    return max(0, value) if isinstance(value, int) else 0
