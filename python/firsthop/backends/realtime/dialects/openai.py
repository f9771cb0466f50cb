"""The contract itself, as OpenAI and LocalAI serve it."""

from __future__ import annotations

from typing import ClassVar

from firsthop.backends.realtime.dialects.base import Dialect
from firsthop.config import Capability


class OpenAI(Dialect):
    """The API as it is generally available."""

    speaks: ClassVar[frozenset[Capability]] = frozenset(
        {"vad", "semantic_vad", "commit", "clear", "cancel", "truncate", "delete"}
    )
