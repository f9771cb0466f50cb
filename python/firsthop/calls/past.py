"""What a call leaves to the one that goes on with it: its session, and what was said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from firsthop.realtime.conversation import Item
from firsthop.realtime.events import as_json, from_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A conversation as it was when its call was left."""

    session: Mapping[str, Any]
    """The session as the client had configured it."""
    items: Sequence[Item] = field(default=(), repr=False)
    """What was said, oldest first; without sound."""
    owes_answer: bool = False
    """Whether the caller waits for an answer of which nothing was heard."""

    def to_json(self) -> str:
        """Return it as one transceiver tells it to another."""
        return as_json(
            {"session": self.session, "items": list(self.items), "owes_answer": self.owes_answer}
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what another transceiver tells. Fields that it may have besides are passed over.

        Raises:
            ValueError: It is something else.
        """
        try:
            told = from_json(text)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        told = told if isinstance(told, dict) else {}
        session, items = told.get("session"), told.get("items")
        if not isinstance(session, dict) or not isinstance(items, list):
            raise ValueError("expected an object 'session' and a list 'items'")
        if not all(isinstance(item, dict) for item in items):
            raise ValueError("expected objects as items")
        return cls(session=session, items=items, owes_answer=told.get("owes_answer") is True)
