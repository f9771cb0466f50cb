"""The seam behind which agents live. They know audio and events, not WebRTC."""

from __future__ import annotations

from typing import Protocol

from firsthop.call import Call


class Backend(Protocol):
    """Answers calls."""

    async def prepare(self) -> None:
        """Get ready before the first call: check what is needed, load what is slow.

        Raises:
            FirsthopError: Calls could not be answered; the transceiver does not start.
        """

    async def serve(self, call: Call) -> None:
        """Serve one call until it ends; the call is hung up when this returns or raises.

        Cancelled when the transceiver stops.
        """
