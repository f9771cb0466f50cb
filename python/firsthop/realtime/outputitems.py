"""The items of a response, from their announcement to their end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from typing import Any

from firsthop.call import Place
from firsthop.realtime.events import new_id
from firsthop.realtime.output import Emit


@dataclass(eq=False, slots=True)
class OutputItem(ABC):
    """An item of a response."""

    item_id: str = field(default_factory=lambda: new_id("item"), init=False)
    response_id: str = field(default="", init=False)
    output_index: int = field(default=0, init=False)
    announced: bool = field(default=False, init=False)
    #: How it ended: completed, cancelled or failed; None while it is under way.
    outcome: str | None = field(default=None, init=False)
    #: Why it was cancelled, if it was.
    reason: str = field(default="", init=False)
    #: What happened to it before it was announced.
    held: list[dict[str, Any]] = field(default_factory=list, init=False)
    _emit: Emit | None = field(default=None, init=False)
    _previous: str | None = field(default=None, init=False)
    _apart: bool = field(default=False, init=False)

    @abstractmethod
    def item(self, status: str) -> dict[str, Any]:
        """The item, as it is: in_progress, completed or incomplete."""

    @abstractmethod
    def begin(self, emit: Emit) -> None:
        """Tell what is in it from the start."""

    @abstractmethod
    def complete(self, emit: Emit) -> None:
        """Tell that nothing more of it follows."""

    def abandon(self) -> None:
        """Its response is cancelled."""
        if self.outcome is None:
            self.outcome = "cancelled"

    def announce(self, emit: Emit, previous: str | None, *, apart: bool) -> None:
        """Tell of the item, then what happened to it by now. Once."""
        if self.announced:
            return
        self.announced = True
        self._previous, self._apart = previous, apart
        item = self.item("in_progress")
        emit({"type": "response.output_item.added", **self.position(), "item": item})
        self._tell_conversation(emit, "conversation.item.added", item)
        self.begin(emit)
        for event in self.held:
            emit(event)
        self.held.clear()
        self._emit = emit

    def finish(self, emit: Emit) -> None:
        """Tell that what is in the item is complete, then that the item is."""
        self._emit = None
        self.complete(emit)
        item = self.item(self.status)
        emit({"type": "response.output_item.done", **self.position(), "item": item})
        self._tell_conversation(emit, "conversation.item.done", item)

    def tell(self, event: dict[str, Any]) -> None:
        """Tell of a change, now or when the item is told of."""
        if self._emit is None:
            self.held.append(event)
        else:
            self._emit(event)

    @property
    def status(self) -> str:
        """How it is told of once it is over."""
        return "completed" if self.outcome == "completed" else "incomplete"

    def position(self) -> dict[str, Any]:
        """Where the item stands in the response."""
        return {"response_id": self.response_id, "output_index": self.output_index}

    @property
    def place(self) -> Place:
        """Where the item's only part belongs."""
        return Place(self.response_id, self.item_id, self.output_index)

    def where(self) -> dict[str, Any]:
        """The same for an event."""
        return asdict(self.place)

    def _tell_conversation(self, emit: Emit, kind: str, item: dict[str, Any]) -> None:
        if not self._apart:
            emit({"type": kind, "item": item, "previous_item_id": self._previous})
