"""Threads for plain functions, which must not hold up the event loop.

Python cannot stop a thread. When nobody waits any more, the function runs on and its result is
dropped; a function that never returns keeps its thread until the process ends. Such threads are
counted, so that there is an end to them, and they are daemons, so that they do not keep the process
from ending, as those of `concurrent.futures` do.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from firsthop.agent.tools.base import ToolError

#: Plain functions that may run at the same time, stuck ones included.
MAX_THREADS: Final = 64

T = TypeVar("T")


class Threads:
    """Runs each function in a thread of its own.

    Args:
        limit: Threads at the same time.
    """

    def __init__(self, limit: int = MAX_THREADS) -> None:
        self._room = threading.BoundedSemaphore(limit)

    async def run(self, function: Callable[[], T]) -> T:
        """Return what the function returns, or raise what it raises.

        Raises:
            ToolError: All threads are taken.
        """
        if not self._room.acquire(blocking=False):
            raise ToolError("too many tools are still at work; try again later")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[tuple[T | None, BaseException | None]] = loop.create_future()
        context = contextvars.copy_context()

        def settle(result: T | None, error: BaseException | None) -> None:
            if not done.done():
                done.set_result((result, error))

        def work() -> None:
            result, error = None, None
            try:
                result = context.run(function)
            except BaseException as raised:
                error = raised
            finally:
                self._room.release()
            try:
                loop.call_soon_threadsafe(settle, result, error)
            except RuntimeError:
                pass  # The loop was closed meanwhile: nobody waits.

        try:
            threading.Thread(target=work, name="firsthop-tool", daemon=True).start()
        except RuntimeError:
            self._room.release()
            raise ToolError("this machine has no thread left for it; try again later") from None
        result, error = await done
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # Without an error it is what was returned.
