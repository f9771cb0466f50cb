"""firsthop: an open WebRTC edge for voice AI.

An agent is a coroutine function that takes a `Call`; `run` answers calls with it::

    import firsthop

    async def parrot(call: firsthop.Call) -> None:
        async for event in call:
            if isinstance(event, firsthop.SpeechEnded):
                call.say(event.audio)

    firsthop.run(parrot)
"""

from typing import TYPE_CHECKING

try:
    from firsthop._native import OpusPacket
except ImportError as error:
    if "ISA level" not in str(error):
        raise
    # As the loader puts it, nobody knows what to do.
    raise ImportError(
        "firsthop was built for processors with AVX2, which this one has not: build it here, "
        "by `make install`, or with RUSTFLAGS=-Ctarget-cpu=x86-64"
    ) from None
from firsthop.call import (
    AudioFrame,
    Call,
    CallerIdle,
    CallEvent,
    DigitPressed,
    Message,
    OpusPackets,
    Playback,
    Played,
    Reply,
    SpeechEnded,
    SpeechStarted,
)
from firsthop.errors import (
    BackendError,
    ConfigError,
    FirsthopError,
    OfferError,
    OverloadedError,
    SessionClosed,
    SignalingError,
    TokenError,
    UnknownCallError,
)
from firsthop.lazily import lazily

if TYPE_CHECKING:
    from firsthop.agent.tools import ToolContext, ToolError, tool
    from firsthop.backends.function import opus
    from firsthop.runner import run
else:
    __getattr__ = lazily(
        __name__,
        {
            "ToolContext": "firsthop.agent.tools",
            "ToolError": "firsthop.agent.tools",
            "opus": "firsthop.backends.function",
            "run": "firsthop.runner",
            "tool": "firsthop.agent.tools",
        },
    )

__all__ = [
    "AudioFrame",
    "BackendError",
    "Call",
    "CallEvent",
    "CallerIdle",
    "ConfigError",
    "DigitPressed",
    "FirsthopError",
    "Message",
    "OfferError",
    "OpusPacket",
    "OpusPackets",
    "OverloadedError",
    "Playback",
    "Played",
    "Reply",
    "SessionClosed",
    "SignalingError",
    "SpeechEnded",
    "SpeechStarted",
    "TokenError",
    "ToolContext",
    "ToolError",
    "UnknownCallError",
    "opus",
    "run",
    "tool",
]

__version__ = "0.1.0"
