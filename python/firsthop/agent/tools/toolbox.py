"""All tools of a service, by name: found, told to the model, run within limits."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import structlog
from pydantic_core import from_json

from firsthop import modules
from firsthop.agent.tools import builtin as builtins
from firsthop.agent.tools.base import PYTHON, Tool, ToolContext, ToolError, where
from firsthop.agent.tools.function import PythonTool, marked
from firsthop.config import AgentSettings
from firsthop.errors import ConfigError, SessionClosed
from firsthop.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from firsthop.agent.tools.mcp import McpServer

#: Tools that models are told of.
MAX_TOOLS: Final = 128
#: Longest output that a model is told, in characters.
MAX_OUTPUT: Final = 16_000
#: Longest words of a failure.
MAX_PROBLEM: Final = 1_000
#: Longest arguments, in characters.
MAX_ARGUMENTS: Final = 100_000

log = structlog.get_logger()


class Toolbox:
    """The tools of a service.

    Args:
        functions: Those of this process.
        settings: Servers of more, and how long a tool may take.
        metrics: What calls of tools count into.
    """

    def __init__(
        self, functions: Sequence[PythonTool], settings: AgentSettings, metrics: Metrics
    ) -> None:
        self._functions = functions
        self._timeout = settings.tool_timeout_seconds
        self._metrics = metrics
        self._servers: list[McpServer] = []
        if settings.mcp:
            # It takes half a second to import, and most services have no such server.
            from firsthop.agent.tools.mcp import McpServer

            self._servers = [
                McpServer(label, server, self._sort) for label, server in settings.mcp.items()
            ]
        self._tools: dict[str, Tool] = {}
        self._sort()

    @classmethod
    def of(
        cls, settings: AgentSettings, *, builtin: bool, metrics: Metrics | None = None
    ) -> Toolbox:
        """Find the tools that the settings name.

        Args:
            settings: The modules in `tools`, and the servers in `mcp`.
            builtin: Whether the tools that come along are among them.
            metrics: What calls of tools count into.

        Raises:
            ConfigError: A module is missing or has no tools, or two tools have one name.
        """
        found: dict[str, PythonTool] = {}
        named = ([builtins.__name__] if builtin else []) + list(settings.tools)
        for name in named:
            for function in _tools_of(name):
                _add(found, function, name)
        if len(found) > MAX_TOOLS:
            raise ConfigError("agent.tools", f"{len(found)} tools; models take {MAX_TOOLS}")
        if PYTHON in settings.mcp:
            raise ConfigError("agent.mcp", f"{PYTHON} is what our own are called; name it else")
        return cls(list(found.values()), settings, metrics or Metrics())

    async def prepare(self) -> None:
        """Connect to the servers. One that is away is left to come back; its absence is logged."""
        await asyncio.gather(*(server.prepare() for server in self._servers))

    async def close(self) -> None:
        """Take leave of the servers."""
        await asyncio.gather(*(server.close() for server in self._servers))

    def definitions(self) -> list[dict[str, Any]]:
        """What the model is told of all tools, as in the Realtime API."""
        return [tool.definition() for tool in self._tools.values()]

    def owner(self, name: str) -> str | None:
        """Whose a tool is: python, or the name of a server; None if there is no such tool."""
        tool = self._tools.get(name)
        return None if tool is None else tool.server

    async def run(self, name: str, arguments: str, context: ToolContext) -> str:
        """Run a tool, and return what the model is told. When this is cancelled, so is the tool.

        Args:
            name: What the model calls it.
            arguments: A JSON object, as the model words it.
            context: The call that it works for.

        Raises:
            ToolError: There is no such tool, the arguments are none, it took too long, or it
                failed; the words are for the model.
        """
        tool = self._tools.get(name)
        if tool is None:
            self._count("", "", "unknown")
            known = ", ".join(self._tools) or "none"
            raise ToolError(_cut(f"there is no tool {name[:64]!r}; there are: {known}"))
        counted = (tool.server, name if tool.server == PYTHON else "")
        try:
            values = _parsed(arguments)
        except ToolError:
            self._count(*counted, "garbage")
            raise
        outcome = "cancelled"
        try:
            output = await self._within_time(tool, values, context)
            outcome = "done"
        except TimeoutError:
            outcome = "timeout"
            log.warning("tool.timeout", tool=name, server=tool.server, call=context.call.id)
            raise ToolError(
                f"the tool took more than {self._timeout:g} seconds and was given up"
            ) from None
        except ToolError:
            outcome = "failed"
            raise
        finally:
            self._count(*counted, outcome)
        return _bounded(output)

    async def _within_time(
        self, tool: Tool, values: Mapping[str, Any], context: ToolContext
    ) -> str:
        """Run a tool in a task of the call: one that ignores being cancelled holds up nobody."""
        try:
            task = context.begin(_contained(tool, values, context))
        except SessionClosed as error:
            raise ToolError(str(error)) from None
        try:
            done, _ = await asyncio.wait({task}, timeout=self._timeout)
        finally:
            task.cancel()
            task.add_done_callback(_forget)
        if not done:
            raise TimeoutError
        if task.cancelled():
            raise ToolError("the tool was given up")
        return task.result()

    def _sort(self) -> None:
        """Give each tool its name; ours first, then those of the servers in their order."""
        tools: dict[str, Tool] = {tool.name: tool for tool in self._functions}
        left_out = 0
        for server in self._servers:
            from firsthop.agent.tools.mcp.tools import McpTool, fits, named

            for listed in server.tools:
                if len(tools) >= MAX_TOOLS or not fits(listed):
                    left_out += 1
                    continue
                name = named(listed.name, server.label, tools)
                tools[name] = McpTool(server, listed, name)
        if left_out:
            log.warning("tools.left_out", tools=left_out, limit=MAX_TOOLS)
        self._tools = tools

    def _count(self, server: str, tool: str, outcome: str) -> None:
        self._metrics.tool_calls.labels(server, tool, outcome).inc()


async def _contained(tool: Tool, values: Mapping[str, Any], context: ToolContext) -> str:
    """Run a tool; whatever it raises is a `ToolError`. Not even `sys.exit` ends the service."""
    try:
        return await tool.run(values, context)
    except ToolError as error:
        raise ToolError(_cut(str(error))) from None
    except (Exception, SystemExit) as error:
        log.error(
            "tool.failed",
            tool=tool.name,
            server=tool.server,
            call=context.call.id,
            error=type(error).__name__,
            where=where(error),
        )
        raise ToolError(f"the tool failed: {type(error).__name__}") from None


def _tools_of(name: str) -> list[PythonTool]:
    """The tools in a module, in their order."""
    module = modules.load(name, key="agent.tools")
    try:
        found = [marked(value) for value in vars(module).values()]
    except TypeError as error:
        raise ConfigError("agent.tools", f"{name!r}: {error}") from None
    tools = [tool for tool in found if tool is not None]
    if not tools:
        raise ConfigError(
            "agent.tools", f"{name!r} has no tools; mark functions in it with @firsthop.tool"
        )
    return tools


def _add(found: dict[str, PythonTool], tool: PythonTool, source: str) -> None:
    """Add a tool; the same one may be found in several modules."""
    other = found.setdefault(tool.name, tool)
    if other is not tool:
        raise ConfigError(
            "agent.tools",
            f"{source!r}: there is another tool {tool.name!r}, in {other.function.__module__}; "
            "rename one, as by @tool(name=...)",
        )


def _parsed(arguments: str) -> dict[str, Any]:
    if len(arguments) > MAX_ARGUMENTS:
        raise ToolError(f"the arguments are longer than {MAX_ARGUMENTS} characters")
    if not arguments.strip():
        return {}  # How some models word that there are none.
    try:
        values = from_json(arguments.encode(errors="replace"), allow_inf_nan=False)
    except ValueError as error:
        raise ToolError(f"the arguments are no JSON: {_cut(str(error))}") from None
    if not isinstance(values, dict):
        raise ToolError('the arguments are no JSON object, as {"name": "value"}')
    return values


def _bounded(output: str) -> str:
    """Cut what is too long, and replace what no JSON could carry."""
    length = len(output)
    if length > MAX_OUTPUT:
        output = f"{output[:MAX_OUTPUT]}\n[cut: the first {MAX_OUTPUT} of {length} characters]"
    return output.encode(errors="replace").decode()


def _cut(text: str) -> str:
    text = text.encode(errors="replace").decode()
    return text if len(text) <= MAX_PROBLEM else f"{text[:MAX_PROBLEM]} ..."


def _forget(task: asyncio.Task[str]) -> None:
    """Take what became of a task that nobody waits for, so that nobody is told of it."""
    if not task.cancelled():
        task.exception()
