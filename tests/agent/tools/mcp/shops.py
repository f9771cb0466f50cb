"""A toolbox with one server of tools, for tests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import structlog

from doubles import Line
from firsthop.agent.tools import ToolContext, ToolError
from firsthop.agent.tools.toolbox import Toolbox
from firsthop.config import AgentSettings


class Shop:
    """A toolbox with the built-in tools and those of a server called shop."""

    def __init__(self, box: Toolbox, logs: list[Any]) -> None:
        self.box = box
        self.logs = logs
        self.context = ToolContext(Line(), lambda _: None)

    async def run(self, name: str, arguments: str = "{}") -> str:
        """Run a tool, as a model would."""
        return await self.box.run(name, arguments, self.context)

    async def failure(self, name: str, arguments: str = "{}") -> str:
        """Run a tool that fails, and return the words of its failure."""
        try:
            output = await self.run(name, arguments)
        except ToolError as error:
            return str(error)
        raise AssertionError(f"{name} returned {output[:100]!r}")

    def names(self) -> list[str]:
        """The tools that the model is told of, but for the built-in ones."""
        return [tool["name"] for tool in self.box.definitions()][4:]

    def problems(self) -> list[str]:
        """What the log says went wrong with the connection."""
        return [entry["problem"] for entry in self.logs if "problem" in entry]

    async def back(self, times: int = 1) -> None:
        """Wait until the server has come (back) so often."""
        await until(lambda: [entry["event"] for entry in self.logs].count("mcp.connected") >= times)


async def works(one: Shop) -> str:
    """Wait until the server answers, and return what it answers."""
    for _ in range(2000):
        with contextlib.suppress(ToolError):
            return await one.run("add", '{"a": 1, "b": 2}')
        await asyncio.sleep(0.01)
    raise AssertionError("it does not work")


async def until(condition: Callable[[], object]) -> None:
    """Wait until other processes and threads made something true."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it does not come true")


@asynccontextmanager
async def shop(*, tool_seconds: float = 20, **server: Any) -> AsyncIterator[Shop]:
    """Yield a toolbox that is ready; when it is closed, no task is left."""
    settings = AgentSettings.model_validate(
        {"mcp": {"shop": server}, "tool_timeout_seconds": tool_seconds}
    )
    with structlog.testing.capture_logs() as logs:
        box = Toolbox.of(settings, builtin=True)
        one = Shop(box, logs)
        try:
            await box.prepare()
            yield one
        finally:
            await one.context.close()
            await box.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
