"""An agent of one's own: any coroutine function that takes a `Call`."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from firsthop.backends.base import Backend
from firsthop.call import Call
from firsthop.errors import ConfigError

Agent = Callable[[Call], Awaitable[None]]


class FunctionBackend(Backend):
    """Serves calls with a coroutine function."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    @classmethod
    def find(cls, name: str) -> FunctionBackend:
        """Import ``module:function``; modules in the current folder count.

        Raises:
            ConfigError: It cannot be imported, or is no coroutine function.
        """
        module_name, _, function_name = name.partition(":")
        here = str(Path.cwd())
        if here not in sys.path:
            sys.path.insert(0, here)
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            raise ConfigError("backend", f"{name!r}: {error}") from None
        agent = getattr(module, function_name, None)
        if not inspect.iscoroutinefunction(agent):
            raise ConfigError(
                "backend",
                f"{name!r}: {module_name} has no 'async def {function_name}(call)'",
            )
        return cls(agent)

    async def serve(self, call: Call) -> None:
        """Let the function serve the call."""
        await self._agent(call)
