"""Waiting for a condition, with a deadline: the only way in which these tests wait."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

#: Generous: it only decides how long a test that fails takes.
DEADLINE_S = 30.0
_POLL_S = 0.02

T = TypeVar("T")


@overload
async def until(
    condition: Callable[[], Awaitable[T | None]],
    what: str,
    seconds: float = ...,
    *,
    every: float = ...,
) -> T: ...
@overload
async def until(
    condition: Callable[[], T | None], what: str, seconds: float = ..., *, every: float = ...
) -> T: ...
async def until(
    condition: Callable[[], Any], what: str, seconds: float = DEADLINE_S, *, every: float = _POLL_S
) -> Any:
    """Return what `condition`, a function or a coroutine function, gives once it is true.

    Args:
        condition: What is waited for.
        what: It in words.
        seconds: How long at most.
        every: So many seconds pass before it is asked again: more for what is dear to ask, as all
            that was heard so far is.

    Raises:
        AssertionError: `what` did not come true within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(every)
