"""What a call is placed with, besides its offer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from firsthop.backends.base import Traits
from firsthop.calls.ends import DataChannel, SendText
from firsthop.calls.past import Past
from firsthop.steering.steered import Steered


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What holds for one call."""

    session: Mapping[str, Any] = field(default_factory=dict)
    """The session's configuration, laid over the defaults."""
    client_events: frozenset[str] | None = None
    """The types of events that the caller's own channel may send; None: all."""
    channel: Callable[[SendText, Traits], DataChannel] = DataChannel
    """Makes the caller's data channel; by default, one that speaks the Realtime contract."""
    channel_id: int | None = None
    """The id of a data channel that the caller opens without telling so (``negotiated: true``):
    offers do not name such channels."""
    steered: Steered | None = None
    """By which ingress points its media goes; None: those of the settings."""
    continues: str | None = None
    """The call with which it goes on, if there is one. Only secrets of our own making name one."""
    past: Past | None = None
    """What that call has left; None: nothing is known of it."""
    call_id: str | None = None
    """The id that it gets; None: a new one."""
    continued: bool = False
    """Whether its conversation has begun elsewhere, and will be told by the caller."""
