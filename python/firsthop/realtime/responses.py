"""Responses of an agent of ours, as the contract tells of them: created, filled, done.

A response has items, which are told of one after the other, in the order in which the agent began
them. What happens to an item before its turn comes is kept, and told then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from firsthop.call import Usage
from firsthop.realtime.events import new_id
from firsthop.realtime.output import Emit
from firsthop.realtime.outputitems import OutputItem


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
