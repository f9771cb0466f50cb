"""An agent that speaks at once."""

from __future__ import annotations

from typing import Final

from firsthop.bench.tone import tone
from firsthop.call import Call

_SECONDS: Final = 1


async def greet(call: Call) -> None:
    """Say the tone, and no more."""
    call.say(tone(call.sample_rate, _SECONDS))
    async for _ in call:
        pass
