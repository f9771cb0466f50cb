"""Tools that come along."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from doubles import Line
from firsthop.agent.tools import ToolContext, ToolError, builtin
from firsthop.agent.tools.builtin import MAX_TIMERS, duration
from firsthop.agent.tools.function import marked
from firsthop.errors import SessionClosed


class Caller:
    """A call, and what was announced in it."""

    def __init__(self) -> None:
        self.announced: asyncio.Queue[str] = asyncio.Queue()
        self.context = ToolContext(Line(), self.announced.put_nowait)

    async def run(self, function: object, **arguments: Any) -> str:
        """Run a tool, as a model would."""
        tool = marked(function)
        assert tool is not None
        return await tool.run(arguments, self.context)


@pytest.fixture
async def caller() -> AsyncIterator[Caller]:
    """A caller; when the call is over, no task is left."""
    caller = Caller()
    yield caller
    await caller.context.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("zone", [None, "Europe/Oslo", "oslo", "New York", "utc", "asia/tokyo"])
async def test_the_time_is_told_here_and_elsewhere(zone: str | None, caller: Caller) -> None:
    told = await caller.run(builtin.current_time, timezone=zone)
    assert re.fullmatch(r"\d\d:\d\d on [A-Z][a-z]+, \d{1,2} [A-Z][a-z]+ \d{4}", told)


@pytest.mark.parametrize("zone", ["", "Nowhere", "Europe", "../x", "/etc/passwd", "x" * 999, "a\0"])
async def test_an_unknown_time_zone_is_refused(zone: str, caller: Caller) -> None:
    with pytest.raises(ToolError, match="as Europe/Oslo"):
        await caller.run(builtin.current_time, timezone=zone)


async def test_a_timer_rings(caller: Caller) -> None:
    told = await caller.run(builtin.set_timer, seconds=0.01, label="eggs")
    assert told == "a timer for eggs is set; it rings in 0.01 seconds"
    assert await caller.announced.get() == "Your timer for eggs is up."
    with pytest.raises(ToolError, match="no timer is set"):
        await caller.run(builtin.cancel_timer)


async def test_a_cancelled_timer_is_gone(caller: Caller) -> None:
    await caller.run(builtin.set_timer, seconds=300)
    told = await caller.run(builtin.cancel_timer)
    assert told == "the timer for 5 minutes is cancelled"
    with pytest.raises(ToolError, match="no timer is set"):
        await caller.run(builtin.cancel_timer)


async def test_of_several_timers_one_has_to_be_named(caller: Caller) -> None:
    await caller.run(builtin.set_timer, seconds=300, label="eggs")
    await caller.run(builtin.set_timer, seconds=90)
    for label in (None, "tea"):
        with pytest.raises(ToolError, match=r"These are set: eggs, 1 minute 30 seconds$"):
            await caller.run(builtin.cancel_timer, label=label)
    told = await caller.run(builtin.cancel_timer, label="Eggs")
    assert told == "the timer for eggs is cancelled"
    assert await caller.run(builtin.cancel_timer)


async def test_timers_are_bounded(caller: Caller) -> None:
    for _ in range(MAX_TIMERS):
        await caller.run(builtin.set_timer, seconds=60)
    with pytest.raises(ToolError, match="20 timers are set already"):
        await caller.run(builtin.set_timer, seconds=60)
    for seconds in (0, -1, 86_401, float("inf"), float("nan")):
        with pytest.raises(ToolError, match="seconds"):
            await caller.run(builtin.set_timer, seconds=seconds)


async def test_a_call_takes_its_timers_with_it(caller: Caller) -> None:
    other = Caller()
    await caller.run(builtin.set_timer, seconds=60, label="eggs")
    await other.run(builtin.set_timer, seconds=60, label="tea")
    await caller.context.close()
    with pytest.raises(SessionClosed):
        await caller.run(builtin.set_timer, seconds=60)
    assert await other.run(builtin.cancel_timer, label="tea")
    await other.context.close()


async def test_arithmetic_is_worked_out(caller: Caller) -> None:
    assert await caller.run(builtin.calculate, expression="20% of 150") == "30"
    with pytest.raises(ToolError, match="divide by zero"):
        await caller.run(builtin.calculate, expression="1 / 0")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.5, "0.5 seconds"),
        (1, "1 second"),
        (59.6, "1 minute"),
        (90, "1 minute 30 seconds"),
        (3600, "1 hour"),
        (86_400, "24 hours"),
        (7261, "2 hours 1 minute 1 second"),
    ],
)
def test_durations_are_worded(seconds: float, words: str) -> None:
    assert duration(seconds) == words
