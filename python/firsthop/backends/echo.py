"""Sends back what it hears, frame by frame: for measuring, and for hearing the path itself."""

from __future__ import annotations

from collections.abc import AsyncIterator

from firsthop.backends.base import Backend, Traits
from firsthop.call import AudioFrame, Call


class EchoBackend(Backend):
    """An echo of PCM."""

    # There are no turns in an echo, and to look for them costs more than the codec.
    traits = Traits(detects_turns=True)

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
