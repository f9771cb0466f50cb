"""An agent of one's own: any coroutine function that takes a `Call`."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable

from firsthop import modules
from firsthop.backends.base import Backend, Traits
from firsthop.call import Call
from firsthop.errors import ConfigError

Agent = Callable[[Call], Awaitable[None]]


#: How a function that wants Opus is known.
_MARK = "__firsthop_opus__"


def opus(agent: Agent) -> Agent:
    """Mark an agent that wants the caller's Opus packets as they are, and says such.

    It hears `OpusPackets` instead of `AudioFrame`, says them with `Call.forward`, and finds turns
    itself. Its calls come by WebRTC only::

        @firsthop.opus
        async def mirror(call: firsthop.Call) -> None:
            async def packets():
                async for event in call:
                    if isinstance(event, firsthop.OpusPackets):
                        yield event.packets

            await call.forward(packets())
    """
    setattr(agent, _MARK, True)
    return agent


class FunctionBackend(Backend):
    """Serves calls with a coroutine function."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self.traits = Traits(opus=getattr(agent, _MARK, False))

    @classmethod
    def find(cls, name: str) -> FunctionBackend:
        """Import ``module:function``; modules in the current folder count.

        Raises:
            ConfigError: It cannot be imported, or is no coroutine function.
        """
        module_name, _, function_name = name.partition(":")
        module = modules.load(module_name, key="backend", value=name)
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
