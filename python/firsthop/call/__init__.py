"""A call, as an agent sees it: hear, say, be interrupted, know what was played.

An agent is a coroutine function that takes a `Call`. It iterates over the call's events and says
things; the call ends when the function returns. Nothing here knows WebRTC, and nothing here is
done per packet: the engine paces and counts, `Call` keeps the account.
"""

from firsthop.call.call import Call, Reply, ToolRun, Usage
from firsthop.call.events import (
    AudioFrame,
    CallerIdle,
    CallEvent,
    DigitPressed,
    Message,
    OpusPackets,
    SpeechEnded,
    SpeechStarted,
)
from firsthop.call.speech import Place, Playback, Played, Sound, Speech

__all__ = [
    "AudioFrame",
    "Call",
    "CallEvent",
    "CallerIdle",
    "DigitPressed",
    "Message",
    "OpusPackets",
    "Place",
    "Playback",
    "Played",
    "Reply",
    "Sound",
    "Speech",
    "SpeechEnded",
    "SpeechStarted",
    "ToolRun",
    "Usage",
]
