"""What an agent hears of a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from firsthop._native import OpusPacket


@dataclass(frozen=True, slots=True)
class AudioFrame:
    """A piece of what the caller says, in order and without gaps."""

    pcm: bytes = field(repr=False)
    """PCM16LE, mono, at `Call.sample_rate`; a frame long (20 ms unless set otherwise), or, if the
    client sends its sound in events, as long as the event, but at most 100 ms."""
    at_ms: int
    """Where it begins, in milliseconds since the first audio of the call."""


@dataclass(frozen=True, slots=True)
class OpusPackets:
    """A piece of what the caller says, as it came; for agents that want Opus (`firsthop.opus`).

    Packets are in order, each once; `OpusPacket.missing` counts those that were lost, for which
    nothing is made up. One that comes late is waited for, 50 ms at most.
    """

    packets: Sequence[OpusPacket]
    """At least one; together a frame long (20 ms unless set otherwise), or, where the caller
    pauses, what came within that time."""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The caller began to speak. What the agent was saying has been stopped, if that is set."""

    at_ms: int
    """Where speech begins, in milliseconds since the first audio of the call."""


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """The caller's turn is over, and an answer is due."""

    at_ms: int
    """Where speech ended, in milliseconds since the first audio of the call."""
    audio: bytes = field(repr=False)
    """The whole turn, PCM16LE, mono, at `Call.sample_rate`, with a little of what came before."""
    item_id: str = ""
    """The turn as an item of the conversation, for events about it (a transcript, say)."""


@dataclass(frozen=True, slots=True)
class CallerIdle:
    """The caller has said nothing for as long as the session's ``idle_timeout_ms`` allows."""

    at_ms: int
    """When, in milliseconds since the first audio of the call."""


@dataclass(frozen=True, slots=True)
class DigitPressed:
    """The caller pressed a key (DTMF, RFC 4733)."""

    digit: str
    """``0`` to ``9``, ``*``, ``#``, or ``A`` to ``D``."""


@dataclass(frozen=True, slots=True)
class Message:
    """An event from the client's data channel that firsthop has no answer to itself."""

    event: Mapping[str, Any]
    """The parsed JSON object; it has a ``type``."""


CallEvent = (
    AudioFrame | OpusPackets | SpeechStarted | SpeechEnded | CallerIdle | DigitPressed | Message
)
