"""Agents for the edge under test, as a user would write them: `--backend agents:mirror`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

from firsthop.call import AudioFrame, Call, Message


async def _reflect(call: Call, *, sound: bool) -> None:
    """Say what is heard if `sound`, answer every message, and tell which process this is."""
    call.interruptible = False

    async def frames() -> AsyncIterator[bytes]:
        async for event in call:
            if isinstance(event, Message):
                call.send({"type": "mirror.message", "event": event.event, "pid": os.getpid()})
            elif sound and isinstance(event, AudioFrame):
                yield event.pcm

    await call.say(frames())


async def mirror(call: Call) -> None:
    """Send back sound and messages."""
    await _reflect(call, sound=True)


async def other_mirror(call: Call) -> None:
    """Do the same under another name."""
    await _reflect(call, sound=True)


async def silent(call: Call) -> None:
    """Send back messages, and never say a word."""
    await _reflect(call, sound=False)
