"""The client's tools, while the agent waits for what they say."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from firsthop.errors import BackendError, SessionClosed
from firsthop.realtime.conversation import Item
from firsthop.realtime.events import as_json
from firsthop.realtime.session import Session
from firsthop.realtime.toolcalls import ToolCall


class ClientTools:
    """Calls whose outputs have not come.

    Args:
        session: Says which tools there are.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._waiting: dict[str, asyncio.Future[str]] = {}
        #: Outputs behind which a request for an answer follows that the agent is at already.
        self._followed = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def call(self, name: str, arguments: Mapping[str, Any]) -> tuple[ToolCall, asyncio.Future[str]]:
        """Return a call as an item, and its output, which will be the result of the future.

        Raises:
            BackendError: The session has no such tool.
            TypeError: `arguments` hold what JSON cannot; ValueError: a number that it cannot.
        """
        tools = self._session.value["tools"]
        names = [tool.get("name") for tool in tools if tool.get("type") == "function"]
        if name not in names:
            known = ", ".join(str(tool) for tool in names) or "none"
            raise BackendError(f"the client offers no tool {name!r}; it offers {known}")
        call = ToolCall(name, as_json(arguments))
        output = self._waiting[call.call_id] = asyncio.get_running_loop().create_future()
        output.add_done_callback(lambda _: self._waiting.pop(call.call_id, None))
        return call, output

    def created(self, item: Item) -> None:
        """Take note of an item of the client's, which may be an output that is waited for."""
        waiting = None
        if item["type"] == "function_call_output":
            waiting = self._waiting.get(item["call_id"])
        if waiting is None:
            self._followed = 0
        elif not waiting.done():
            waiting.set_result(item["output"])
            self._followed += 1

    def interrupted(self) -> None:
        """Take note that the caller goes on: a request that follows is about that."""
        self._followed = 0

    def goes_on(self) -> bool:
        """Whether the agent answers a request by going on with an output that it waited for."""
        if not self._followed:
            return False
        self._followed -= 1
        return True

    def close(self, reason: str) -> None:
        """Let go of whoever waits: the call is over."""
        for output in list(self._waiting.values()):
            if not output.done():
                output.set_exception(SessionClosed(reason))
