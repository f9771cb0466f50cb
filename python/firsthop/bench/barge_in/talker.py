"""An agent that hardly ever stops: it hums, falls silent when interrupted, and hums again."""

from __future__ import annotations

from typing import Final

from firsthop.bench.tone import tone
from firsthop.call import Call, SpeechEnded

_SECONDS: Final = 20


async def talk(call: Call) -> None:
    """Hum, and again after each turn of the caller."""
    call.say(tone(call.sample_rate, _SECONDS))
    async for event in call:
        if isinstance(event, SpeechEnded):
            call.say(tone(call.sample_rate, _SECONDS))
