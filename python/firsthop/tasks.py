"""How tasks are ended that others began."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any


async def cancel(*tasks: asyncio.Task[Any]) -> list[object]:
    """Cancel tasks, and wait until each is over. Those that are over already stay as they are.

    Who is cancelled while it waits here cancels them once more, waits on, and is cancelled then:
    no task is left running, and no cancellation is lost. A task that does not heed it holds up
    whoever waits.

    Returns:
        What each returned or raised, in their order; nothing of it is raised here. See
        `raise_failure`.
    """
    for task in tasks:
        task.cancel()
    outcomes: list[object] = await asyncio.gather(*tasks, return_exceptions=True)
    return outcomes


def raise_failure(outcomes: Iterable[object]) -> None:
    """Raise the first exception among what tasks returned or raised; being cancelled is none."""
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
