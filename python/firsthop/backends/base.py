"""The seam behind which agents live. They know audio and events, not WebRTC."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from firsthop.call import Call


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What a backend wants of its calls."""

    realtime: bool = False
    """It is a Realtime server itself: it announces its own items and responses with `Call.send`,
    and is given the client's events as they are."""
    detects_turns: bool = False
    """It decides itself where the caller's turns begin and end."""
    early: bool = False
    """It serves a call from the answer on, while ICE and DTLS still run. Others are called when
    sound flows, so that a caller who never comes costs nothing."""
    rtvi: bool = False
    """It speaks RTVI itself, as Pipecat's bots do: messages of clients that speak it are passed on
    both ways as they are."""
    sample_rate: int | None = None
    """Of the PCM of its calls, in Hz; None: the setting `audio.sample_rate`."""
    opus: bool = False
    """It wants the caller's Opus packets as they are (`OpusPackets`), and says such
    (`Call.forward`): nothing is decoded or encoded here, so it decides about turns itself."""

    def __post_init__(self) -> None:
        if self.opus:
            object.__setattr__(self, "detects_turns", True)


class Backend(ABC):
    """Answers calls."""

    #: What it wants of its calls.
    traits: Traits = Traits()

    async def prepare(self) -> None:  # noqa: B027 (most need nothing)
        """Get ready before the first call: check what is needed, load what is slow.

        Raises:
            FirsthopError: Calls could not be answered; the transceiver does not start.
        """

    @abstractmethod
    async def serve(self, call: Call) -> None:
        """Serve one call until it ends; the call is hung up when this returns or raises.

        Cancelled when the transceiver stops.
        """
