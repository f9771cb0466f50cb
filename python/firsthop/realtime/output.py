"""The output audio buffer: what of a response has been heard, is being heard, or was cut off.

On WebRTC the server paces the sound, so it knows; clients are told with ``output_audio_buffer.*``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from firsthop.call import Place, Played

Emit = Callable[[Mapping[str, Any]], None]

#: Responses that are followed at once. There are more only if a server does not say that it is done
#: with them.
_MAX_OPEN: Final = 100
#: Items whose length is remembered: the latest.
_MAX_LENGTHS: Final = 32


@dataclass(slots=True)
class _Playing:
    """The sound of one response."""

    utterances: set[int] = field(default_factory=set)
    started: bool = False
    done: bool = False
    cleared: bool = False


class OutputAudioBuffer:
    """Follows the playout of responses.

    Args:
        emit: Takes the events for the client.
    """

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self._places: dict[int, Place] = {}
        self._responses: dict[str, _Playing] = {}
        self._lengths: dict[str, float] = {}

    @property
    def empty(self) -> bool:
        """Whether nothing waits to be heard or is being heard."""
        return not self._places

    def queued(self, utterance: int, place: Place) -> None:
        """Take note that an utterance will be played."""
        self._places[utterance] = place
        self._responses.setdefault(place.response_id, _Playing()).utterances.add(utterance)
        if len(self._responses) > _MAX_OPEN:
            self._give_up_one()

    def holds(self, response_id: str) -> bool:
        """Whether sound of a response waits to be heard or is being heard."""
        return any(place.response_id == response_id for place in self._places.values())

    def sounded(self, place: Place, ms: float) -> None:
        """Take note of more sound of an item."""
        self._lengths[place.item_id] = self._lengths.pop(place.item_id, 0.0) + ms
        if len(self._lengths) > _MAX_LENGTHS:
            del self._lengths[next(iter(self._lengths))]

    def length_ms(self, item_id: str) -> float:
        """How much sound an item has, in ms; 0 if that is not (or no longer) known."""
        return self._lengths.get(item_id, 0.0)

    def started(self, utterance: int) -> None:
        """Take note that its first packet left."""
        place = self._places.get(utterance)
        if place is None:
            return
        playing = self._responses[place.response_id]
        if not playing.started:
            playing.started = True
            self._tell("output_audio_buffer.started", place.response_id)

    def ended(self, utterance: int, played: Played) -> None:
        """Take note that it is over."""
        place = self._places.pop(utterance, None)
        if place is None:
            return
        playing = self._responses[place.response_id]
        playing.utterances.discard(utterance)
        if played.interrupted and playing.started and not playing.cleared:
            playing.cleared = True
            self._tell("output_audio_buffer.cleared", place.response_id)
        self._settle(place.response_id, playing)

    def withdrawn(self, utterance: int) -> None:
        """Take note that an utterance will not be played, nor its response be heard of."""
        place = self._places.pop(utterance, None)
        if place is not None:
            self._responses.pop(place.response_id, None)

    def response_done(self, response_id: str) -> None:
        """Take note that no more of a response follows."""
        playing = self._responses.get(response_id)
        if playing is not None:
            playing.done = True
            self._settle(response_id, playing)

    def _give_up_one(self) -> None:
        """Forget the oldest response that was heard and yet never told to be done."""
        silent = (name for name, playing in self._responses.items() if not playing.utterances)
        if (oldest := next(silent, None)) is not None:
            del self._responses[oldest]

    def _settle(self, response_id: str, playing: _Playing) -> None:
        if not playing.done or playing.utterances:
            return
        del self._responses[response_id]
        if playing.started and not playing.cleared:
            self._tell("output_audio_buffer.stopped", response_id)

    def _tell(self, kind: str, response_id: str) -> None:
        self._emit({"type": kind, "response_id": response_id})
