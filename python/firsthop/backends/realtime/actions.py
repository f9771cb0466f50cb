"""What the bridge wants done: values, carried out by whoever has the sockets and the call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from firsthop.backends.actions import Fail as Fail
from firsthop.backends.actions import ToClient as ToClient
from firsthop.call import Place


@dataclass(frozen=True, slots=True)
class Append:
    """Send sound to the server."""

    pcm: bytes = field(repr=False)
    """PCM16LE, mono, 24 kHz; may be empty."""


@dataclass(frozen=True, slots=True)
class ToServer:
    """Send an event to the server; it is in its dialect."""

    event: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sound:
    """Play sound; the first of a place begins its playback."""

    place: Place
    pcm: bytes = field(repr=False)
    """PCM16LE, mono, 24 kHz; may end within a sample."""


@dataclass(frozen=True, slots=True)
class EndOfSound:
    """No more follows at a place."""

    place: Place


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Stop all that is played, and report how far it came before doing anything else."""


@dataclass(frozen=True, slots=True)
class Garbled:
    """Count an event of the server that made no sense."""


Action = Append | ToServer | ToClient | Fail | Sound | EndOfSound | Interrupt | Garbled
