"""Sends back the caller's Opus packets as they came: for measuring a call that costs no codec."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from firsthop._native import OpusPacket
from firsthop.backends.base import Backend, Traits
from firsthop.call import Call, OpusPackets


class MirrorBackend(Backend):
    """An echo of packets."""

    traits = Traits(opus=True)

    async def serve(self, call: Call) -> None:
        """Forward every packet as it comes."""

        async def packets() -> AsyncIterator[Sequence[OpusPacket]]:
            async for event in call:
                if isinstance(event, OpusPackets):
                    yield event.packets

        # A client may stop what is being said; the echo goes on with what comes next.
        while call.ended is None:
            await call.forward(packets())
