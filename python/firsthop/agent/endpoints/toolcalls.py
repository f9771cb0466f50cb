"""Tool calls, of the pieces that they are streamed in. No I/O.

By the API, a piece says by its index which call it belongs to, and a call's first piece has its id
and name. Servers differ: some leave out index or id, some give every call index 0, some repeat name
or id in each piece, some send arguments as an object. What tells calls apart is, in this order: the
id, the index, and that a name comes after arguments that are complete.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from typing import Any, Final

from firsthop.agent.endpoints.garbage import GarbageError
from firsthop.agent.stages import ToolRequest

#: Calls in one answer.
_MAX_CALLS: Final = 64


@dataclass
class _Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether its arguments are a JSON object."""
        if not self.arguments or not self.arguments[-1].endswith("}"):
            return False
        try:
            json.loads("".join(self.arguments))
        except (ValueError, RecursionError):
            return False
        return True


class ToolCalls:
    """The calls of one answer."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}

    def feed(self, pieces: Any) -> None:
        """Take the `tool_calls` of a delta or of a message.

        Raises:
            GarbageError: They are none, or too many.
        """
        if not isinstance(pieces, list):
            raise GarbageError("sent tool calls that are no list")
        for piece in pieces:
            if not isinstance(piece, dict):
                raise GarbageError("sent a tool call that is no object")
            self._feed(piece)

    def finish(self, *, cut: bool = False) -> list[ToolRequest]:
        """Return all calls, and begin anew.

        Args:
            cut: The answer is not complete: its last call may not be, and is left out then.

        Raises:
            GarbageError: One has no name.
        """
        calls, self._calls = self._calls, []
        self._by_index = {}
        if cut:
            calls = [call for call in calls if call.name and call.complete]
        if not all(call.name for call in calls):
            raise GarbageError("sent a tool call without a name")
        return [
            ToolRequest(
                call.id or f"call_{secrets.token_hex(12)}",
                call.name,
                "".join(call.arguments) or "{}",
            )
            for call in calls
        ]

    def _feed(self, piece: dict[str, Any]) -> None:
        function = piece.get("function")
        function = function if isinstance(function, dict) else {}
        call_id, name = _text(piece.get("id")), _text(function.get("name"))
        call = self._call(piece.get("index"), call_id, name)
        call.id = call.id or call_id
        arguments = function.get("arguments")
        if name and not call.arguments and name != call.name:
            call.name += name
        if isinstance(arguments, dict):
            call.arguments.append(json.dumps(arguments))
        elif text := _text(arguments):
            call.arguments.append(text)

    def _call(self, index: Any, call_id: str, name: str) -> _Call:
        """Find the call that a piece belongs to, or begin one."""
        if call_id:
            known = next((call for call in self._calls if call.id == call_id), None)
            if known is not None:
                return known
        if isinstance(index, int):
            call = self._by_index.get(index)
        else:
            call = self._calls[-1] if self._calls else None
        if call is None or _is_another(call, call_id, name, indexed=isinstance(index, int)):
            if len(self._calls) >= _MAX_CALLS:
                raise GarbageError("sent more tool calls than make sense")
            call = _Call()
            self._calls.append(call)
        if isinstance(index, int):
            self._by_index[index] = call
        return call


def _is_another(call: _Call, call_id: str, name: str, *, indexed: bool) -> bool:
    """Whether a piece begins another call than the one in its place."""
    if call_id and call.id:
        return True
    if not name or not call.name:
        return False
    return call.complete or (not indexed and not call.arguments and name != call.name)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
