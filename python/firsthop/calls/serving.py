"""The agent of a call while it serves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from firsthop.backends.base import Backend
from firsthop.call import Call
from firsthop.errors import SessionClosed

log = structlog.get_logger()

#: So long may an agent take to return once its call is over; then it is cancelled.
_FAREWELL_SECONDS: Final = 5.0


class Serving:
    """Runs the agent of one call. It owns the agent's task, and the time that it has to leave.

    Args:
        backend: Who serves.
        call: What is served; told if the agent fails.
        returned: Called when the agent has returned, for whatever reason.
    """

    def __init__(self, backend: Backend, call: Call, returned: Callable[[], None]) -> None:
        self._backend = backend
        self._call = call
        self._returned = returned
        self._task: asyncio.Task[None] | None = None
        self._farewell: asyncio.TimerHandle | None = None

    @property
    def running(self) -> bool:
        """Whether the agent is at work."""
        return self._task is not None

    def start(self) -> None:
        """Let the agent begin, unless it has."""
        if self._task is None:
            self._task = asyncio.create_task(self._serve(), name=f"agent {self._call.id}")
            self._task.add_done_callback(lambda _: self._leave())

    def dismiss(self) -> None:
        """Let the agent return by itself, if it does so soon: its call is over."""
        if self._task is not None:
            loop = asyncio.get_running_loop()
            self._farewell = loop.call_later(_FAREWELL_SECONDS, self._task.cancel)

    def cancel(self) -> None:
        """Stop the agent."""
        if self._task is not None:
            self._task.cancel()

    async def _serve(self) -> None:
        try:
            await self._backend.serve(self._call)
        except SessionClosed:
            # It was about to say something when the caller hung up.
            return
        except Exception as error:
            log.error("agent.failed", call=self._call.id, error=repr(error), exc_info=error)
            self._call.fail("internal_error", "the agent failed; the call is ended")

    def _leave(self) -> None:
        self._task = None
        if self._farewell is not None:
            self._farewell.cancel()
        self._returned()
