"""What the ends of a call are told, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from firsthop.calls.seats import Seats, numbered
from firsthop.realtime.conversation import Conversation
from firsthop.realtime.floor import Floor
from firsthop.realtime.output import OutputAudioBuffer


class Telling:
    """Tells all ends of events. It owns the record: items, the output audio buffer, the floor.

    Args:
        seats: Who is told.
        paced: Whether the line knows what was heard.
        shortens: Whether items that were cut off are shortened here; else who tells of it does.
        answered: Called when a response is done.
        told: Called after every event.
    """

    def __init__(
        self,
        seats: Seats,
        paced: Callable[[], bool],
        answered: Callable[[], None],
        told: Callable[[], None],
        *,
        shortens: bool,
    ) -> None:
        self._seats = seats
        self._paced = paced
        self._answered = answered
        self._told = told
        self._shortens = shortens
        self.items = Conversation()
        """The items, as they were told."""
        self.output = OutputAudioBuffer(self._output_changed)
        """What of the responses has been heard."""
        self.floor = Floor()
        """Who speaks, and whether an answer is due."""

    def emit(self, event: Mapping[str, Any]) -> None:
        """Tell all ends, and follow what is told."""
        text = numbered(event)
        kind = event.get("type")
        self.items.observe(event)
        self.floor.observe(event)
        if kind == "conversation.item.truncated" and self._shortens:
            self._shorten(event.get("item_id"), event.get("audio_end_ms"))
        self._seats.tell(text, sound=kind == "response.output_audio.delta")
        if kind == "response.done":
            response = event.get("response")
            if isinstance(response, dict) and isinstance(response.get("id"), str):
                self.output.response_done(response["id"])
            self._answered()
        self._told()

    def _shorten(self, item_id: object, ms: object) -> None:
        """Keep as much of an item's words as was heard of its sound."""
        length_ms = self.output.length_ms(item_id) if isinstance(item_id, str) else 0
        if isinstance(item_id, str) and isinstance(ms, int) and length_ms:
            self.items.shorten(item_id, ms / length_ms)

    def _output_changed(self, event: Mapping[str, Any]) -> None:
        # Who plays the sound himself knows better than we do what has been heard.
        if self._paced():
            self.emit(event)
