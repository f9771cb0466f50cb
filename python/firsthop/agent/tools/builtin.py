"""Tools that come along: the time, timers, arithmetic. They need no network and no keys."""

from __future__ import annotations

import asyncio
import weakref
import zoneinfo
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Annotated, Final

from pydantic import Field

from firsthop.agent.tools.arithmetic import evaluate, spoken
from firsthop.agent.tools.base import ToolContext, ToolError
from firsthop.agent.tools.function import tool

#: Timers that a call may have at the same time.
MAX_TIMERS: Final = 20
#: Longest timer, in seconds: a day.
MAX_SECONDS: Final = 24 * 3600

Label = Annotated[str, Field(min_length=1, max_length=100)]


@dataclass(eq=False, slots=True)
class _Timer:
    label: str | None
    seconds: float
    task: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """What it is called, as in: your timer for ..."""
        return self.label or duration(self.seconds)


#: The timers of each call. They run in the call's context, which ends them with it.
_timers: weakref.WeakKeyDictionary[ToolContext, list[_Timer]] = weakref.WeakKeyDictionary()


@tool
def current_time(timezone: str | None = None) -> str:
    """Tell the time and the date, here or elsewhere.

    Args:
        timezone: A time zone of the IANA database, as Europe/Oslo, or its city; null is here.
    """
    if timezone is None:
        now = datetime.now().astimezone()
    else:
        now = datetime.now(_zone(timezone.strip()))
    return f"{now:%H:%M} on {now:%A}, {now.day} {now:%B %Y}"


@tool
async def set_timer(
    seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS)],
    context: ToolContext,
    label: Label | None = None,
) -> str:
    """Set a timer; the caller is told when it rings.

    Args:
        seconds: After how many seconds it rings, up to a day.
        context: The call, whose end is the timer's.
        label: What it is for, as eggs; null if the caller did not say.
    """
    timers = _timers.setdefault(context, [])
    if len(timers) >= MAX_TIMERS:
        raise ToolError(f"{MAX_TIMERS} timers are set already; cancel one first")
    timer = _Timer(label, seconds)
    # Noted at once: a task that is cancelled before it begins takes nothing back.
    timers.append(timer)
    timer.task = context.spawn(_ring(timer, timers, context))
    timer.task.add_done_callback(lambda _: _remove(timer, timers))
    what = f" for {label}" if label else ""
    return f"a timer{what} is set; it rings in {duration(seconds)}"


@tool
async def cancel_timer(context: ToolContext, label: Label | None = None) -> str:
    """Cancel a timer.

    Args:
        context: The call that has it.
        label: What the timer is for; null if there is one only.
    """
    timers = _timers.get(context, [])
    if not timers:
        raise ToolError("no timer is set")
    wanted = label and label.casefold()
    found = [timer for timer in timers if wanted in (None, timer.name.casefold())]
    if len(found) != 1 and (wanted is None or not found):
        names = ", ".join(timer.name for timer in timers)
        raise ToolError(f"which timer? These are set: {names}")
    timer = found[0]
    _remove(timer, timers)
    if timer.task is not None:
        timer.task.cancel()
    return f"the timer for {timer.name} is cancelled"


@tool
async def calculate(expression: str) -> str:
    """Work out an arithmetic expression exactly.

    Args:
        expression: As 2 * (3 + 4), 20% of 150, sqrt(2), 2 ** 10. Angles are in radians.
    """
    try:
        return spoken(evaluate(expression))
    except ValueError as error:
        raise ToolError(str(error)) from None


def duration(seconds: float) -> str:
    """Word a duration: 90 is 1 minute 30 seconds."""
    if seconds < 1:
        return f"{spoken(seconds)} seconds"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "hour"), (minutes, "minute"), (rest, "second"))
    return " ".join(f"{n} {unit}{'s' if n != 1 else ''}" for n, unit in parts if n)


async def _ring(timer: _Timer, timers: list[_Timer], context: ToolContext) -> None:
    await asyncio.sleep(timer.seconds)
    _remove(timer, timers)
    context.announce(f"Your timer for {timer.name} is up.")


def _remove(timer: _Timer, timers: list[_Timer]) -> None:
    if timer in timers:
        timers.remove(timer)


def _zone(name: str) -> zoneinfo.ZoneInfo:
    name = name.replace(" ", "_")
    cities = _cities()
    try:
        return zoneinfo.ZoneInfo(cities.get(name.casefold(), name))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ToolError(
            "there is no such time zone; give one of the IANA database, as Europe/Oslo, "
            "America/New_York or UTC"
        ) from None


@cache
def _cities() -> dict[str, str]:
    """Time zones by their names and by their cities, in lower case."""
    zones = sorted(zoneinfo.available_timezones())
    cities = {zone.rpartition("/")[2].casefold(): zone for zone in zones}
    return cities | {zone.casefold(): zone for zone in zones}
