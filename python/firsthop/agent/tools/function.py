"""Functions as tools: `tool` marks them, and what it reads in them is what the model is told."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar, overload

from pydantic_core import to_json

from firsthop.agent.tools.base import NAME, PYTHON, Tool, ToolContext
from firsthop.agent.tools.docstring import Docstring
from firsthop.agent.tools.parameters import Parameters
from firsthop.agent.tools.threads import Threads

_MARK: Final = "__firsthop_tool__"
_THREADS: Final = Threads()

Function = TypeVar("Function", bound=Callable[..., Any])


@overload
def tool(function: Function, /) -> Function: ...


@overload
def tool(
    *, name: str | None = None, description: str | None = None
) -> Callable[[Function], Function]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
) -> Callable[..., Any]:
    """Mark a function as a tool that the model may call; it stays the function that it is.

    ::

        @firsthop.tool
        async def weather(city: str, days: Annotated[int, Field(ge=1, le=7)] = 1) -> str:
            "Forecast the weather."

    The model is told the first paragraph of the docstring, and of each parameter its type, its
    default and what the docstring's ``Args`` say. A parameter annotated `Call` or `ToolContext`
    is filled in and not shown to the model. What is returned is told to the model: text as it
    is, everything else as JSON, and None as "done". To tell it what went wrong, raise
    `ToolError`.

    A plain function runs in a thread of its own, so it may block. A thread cannot be stopped:
    when the time for it is over, the function runs on and its result is dropped.

    Args:
        function: An ``async def`` or a ``def``, each parameter annotated.
        name: What the model calls it, 1 to 64 of A-Z a-z 0-9 _ -; the function's name if unset.
        description: What the model is told of it, instead of the docstring.

    Raises:
        TypeError: It cannot be a tool; says why and what to do.
    """

    def mark(function: Function) -> Function:
        setattr(function, _MARK, PythonTool(function, name=name, description=description))
        return function

    return mark if function is None else mark(function)


def marked(value: object) -> PythonTool | None:
    """The tool that a function is marked as, if it is.

    Raises:
        TypeError: The function was wrapped after it was marked; the wrapper would be left out.
    """
    found = getattr(value, _MARK, None) if inspect.isroutine(value) else None
    if not isinstance(found, PythonTool):
        return None
    if found.function is not value:
        raise TypeError(f"tool {found.name}: put @tool above the other decorators")
    return found


class PythonTool(Tool):
    """A function that the model may call.

    Args:
        function: An ``async def`` or a ``def``, each parameter annotated.
        name: Instead of the function's.
        description: Instead of the docstring's first paragraph.

    Raises:
        TypeError: It cannot be a tool; says why and what to do.
    """

    server = PYTHON

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
    ) -> None:
        if not inspect.isfunction(function):
            raise TypeError(f"tool: expected a function, got {type(function).__name__}")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"tool {function.__qualname__}: it yields; return one value instead")
        self.function = function
        self.name = function.__name__ if name is None else name
        if not re.fullmatch(NAME, self.name):
            raise TypeError(
                f"tool {function.__qualname__}: models take names of 1 to 64 of A-Z a-z 0-9 _ -, "
                f"and {self.name!r} is none; give one as @tool(name=...)"
            )
        doc = Docstring.of(function.__doc__)
        self.description = description or doc.summary or self.name.replace("_", " ")
        self._parameters = Parameters(function, doc)
        self.parameters = self._parameters.schema

    async def run(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        """Call the function.

        Raises:
            ToolError: The arguments are wrong, or there is no thread for it.
            Exception: Whatever the function raises.
        """
        call = functools.partial(self.function, **self._parameters.check(arguments, context))
        if inspect.iscoroutinefunction(self.function):
            return worded(await call())
        result = await _THREADS.run(functools.partial(_in_thread, call))
        return result if isinstance(result, str) else worded(await result)


def worded(result: object) -> str:
    """What the model is told of a result."""
    if result is None:
        return "done"
    return result if isinstance(result, str) else to_json(result, fallback=str).decode()


def _in_thread(call: Callable[[], Any]) -> str | Awaitable[Any]:
    """Call a plain function, and word its result there too: that may take a while.

    A function that is not ``async`` may still return what is to be awaited.
    """
    result = call()
    return result if inspect.isawaitable(result) else worded(result)
