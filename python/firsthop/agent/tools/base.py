"""What a tool is, what it is given, and what it raises."""

from __future__ import annotations

import asyncio
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar

import structlog

from firsthop.call import Call
from firsthop.errors import FirsthopError, SessionClosed

#: Whose the tools of this process are, for clients.
PYTHON: Final = "python"
#: What models take as the name of a tool.
NAME: Final = r"[A-Za-z0-9_-]{1,64}"
#: Tasks of tools that one call may have at the same time.
MAX_TASKS: Final = 100
#: How long tasks that were cancelled may take to end with their call.
_GOODBYE_SECONDS = 6.0

T = TypeVar("T")
log = structlog.get_logger()


class ToolError(FirsthopError):
    """A tool did not do its work. The words are for the model, which tells the user."""


class ToolContext:
    """The call that a tool works for, and what the tool may do beyond its answer.

    Args:
        call: The call.
        announce: Says a sentence to the caller when nobody speaks. It never blocks.
    """

    def __init__(self, call: Call, announce: Callable[[str], None]) -> None:
        self.call = call
        self.announce = announce
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Let something go on after the tool has answered. It is cancelled when the call ends.

        What it raises is logged, and otherwise changes nothing.

        Raises:
            ToolError: So much goes on already that there is no room for more.
            SessionClosed: The call is over.
        """
        task = self.begin(work)
        task.add_done_callback(_log_failure)
        return task

    def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do the same for who waits for the task, and looks after what it raises."""
        if self._closed or len(self._tasks) >= MAX_TASKS:
            work.close()
            if self._closed:
                raise SessionClosed("ended")
            raise ToolError("too much goes on in this call already; try again later")
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """The call is over: end what goes on for it."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            _, stuck = await asyncio.wait(set(self._tasks), timeout=_GOODBYE_SECONDS)
            if stuck:
                log.error("tool.stuck", tasks=len(stuck), problem="they ignore being cancelled")


class Tool(ABC):
    """Something that the model may call.

    Attributes:
        name: What the model calls it: 1 to 64 of A-Z a-z 0-9 _ -.
        server: Whose it is, for clients: python, or the name of an MCP server.
        description: For the model.
        parameters: JSON Schema of an object.
    """

    name: str
    server: str
    description: str
    parameters: Mapping[str, Any]

    @abstractmethod
    async def run(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        """Do it, and return what the model is told. Cancelled when nobody waits any more.

        Raises:
            ToolError: It did not work.
        """

    def definition(self) -> dict[str, Any]:
        """What the model is told of it, as in the Realtime API."""
        return {
            "type": "function",
            "name": self.name,
            "description": self.description,
            "parameters": dict(self.parameters),
        }


def where(error: BaseException) -> str:
    """Where an error comes from, for our log: its frames, without its words.

    A tool's error may quote what the user said.
    """
    return "".join(traceback.format_tb(error.__traceback__)[-8:])


def _log_failure(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error("tool.failed_later", error=type(error).__name__, where=where(error))
