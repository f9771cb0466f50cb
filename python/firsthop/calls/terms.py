"""What a call is placed with, besides its offer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What holds for one call."""

    session: Mapping[str, Any] = field(default_factory=dict)
    """The session's configuration, laid over the defaults."""
    client_events: frozenset[str] | None = None
    """The types of events that the caller's own channel may send; None: all."""
