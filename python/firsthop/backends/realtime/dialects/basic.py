"""The heart of the contract, as small servers have it (Hugging Face's speech-to-speech).

They hear turns themselves, and know neither ``session.updated`` nor commit, clear, truncate and
retrieve. What clients miss of that, firsthop makes up for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from firsthop.backends.realtime.dialects.base import Dialect, Event, item_of_old
from firsthop.config import Capability

_SESSION: Final = frozenset(
    {"type", "instructions", "output_modalities", "audio", "tools", "tool_choice"}
)


class Basic(Dialect):
    """A subset of the API as it is generally available."""

    speaks: ClassVar[frozenset[Capability]] = frozenset({"vad", "cancel"})

    def session(self, session: Mapping[str, Any]) -> Event:
        """Return a session, or part of one, in the server's form."""
        whole = super().session(session)
        return {name: value for name, value in whole.items() if name in _SESSION}

    def incoming(self, event: Mapping[str, Any]) -> list[Event]:
        """Translate an event of the server, whatever its fields are."""
        if event.get("type") == "conversation.item.created":
            return item_of_old(event)
        return super().incoming(event)
