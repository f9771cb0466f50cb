"""Sends back the caller's Opus packets as they came: for measuring a call that costs no codec."""

from __future__ import annotations

from firsthop.backends.base import Backend, Traits
from firsthop.call import Call


class MirrorBackend(Backend):
    """An echo of packets, within the engine."""

    traits = Traits(opus=True)

    async def serve(self, call: Call) -> None:
        """Have every packet sent back as it comes."""
        # A client may stop what is being said; the echo goes on with what comes next.
        while call.ended is None:
            await call.mirror()
