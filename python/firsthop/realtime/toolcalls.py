"""Tools as items of a response: the client's, and the agent's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from firsthop.call import ToolRun
from firsthop.realtime.events import new_id
from firsthop.realtime.output import Emit
from firsthop.realtime.outputitems import OutputItem


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
