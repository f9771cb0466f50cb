"""Two tools of a pizzeria: one that looks something up, one that speaks up later."""

import asyncio
from typing import Annotated, Literal

from pydantic import Field

import firsthop

_HOURS = {"saturday": "noon to midnight", "sunday": "noon to ten", "monday": "closed"}


@firsthop.tool
def opening_hours(
    day: Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"],
) -> str:
    """Look up when the pizzeria is open."""
    return _HOURS.get(day, "five to ten in the evening")


@firsthop.tool
async def order(
    pizza: str,
    context: firsthop.ToolContext,
    count: Annotated[int, Field(ge=1, le=20)] = 1,
    minutes: float = 12,
) -> str:
    """Order pizza. The caller is told when it is ready.

    Args:
        pizza: Which one, as margherita.
        context: The call in which it is ordered.
        count: How many.
        minutes: How long the caller can wait.
    """
    if pizza.lower() == "hawaii":
        raise firsthop.ToolError("we do not make that one; offer the margherita")

    async def bake() -> None:
        await asyncio.sleep(minutes * 60)
        context.announce(f"Your {pizza} is ready.")

    context.spawn(bake())
    return f"{count} {pizza} ordered"
