"""Sends back what it hears, frame by frame: for measuring, and for hearing the path itself."""

from __future__ import annotations

from collections.abc import AsyncIterator

from firsthop.backends.base import Backend
from firsthop.call import AudioFrame, Call


class EchoBackend(Backend):
    """An echo of PCM."""

    async def serve(self, call: Call) -> None:
        """Say every frame as it comes."""
        call.interruptible = False

        async def frames() -> AsyncIterator[bytes]:
            async for event in call:
                if isinstance(event, AudioFrame):
                    yield event.pcm

        # A client may stop what is being said; the echo goes on with what comes next.
        while call.ended is None:
            await call.say(frames())
