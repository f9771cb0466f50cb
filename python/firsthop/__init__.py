"""firsthop: an open WebRTC edge for voice AI.

An agent is a coroutine function that takes a `Call`; `run` answers calls with it::

    import firsthop

    async def parrot(call: firsthop.Call) -> None:
        async for event in call:
            if isinstance(event, firsthop.SpeechEnded):
                call.say(event.audio)

    firsthop.run(parrot)
"""

from firsthop.call import (
    AudioFrame,
    Call,
    CallerIdle,
    CallEvent,
    Message,
    Playback,
    Played,
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
from firsthop.runner import run

__all__ = [
    "AudioFrame",
    "BackendError",
    "Call",
    "CallEvent",
    "CallerIdle",
    "ConfigError",
    "FirsthopError",
    "Message",
    "OfferError",
    "OverloadedError",
    "Playback",
    "Played",
    "SessionClosed",
    "SignalingError",
    "SpeechEnded",
    "SpeechStarted",
    "TokenError",
    "UnknownCallError",
    "run",
]

__version__ = "0.1.0"
