"""Who has the floor, as the events that pass tell, whoever makes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: The contract's words, and those of bots that speak RTVI.
_CALLER_BEGINS: Final = frozenset({"input_audio_buffer.speech_started", "user-started-speaking"})
_CALLER_ENDS: Final = frozenset({"input_audio_buffer.speech_stopped", "user-stopped-speaking"})
#: A client may end a turn that has no end of its own.
_CALLER_STOPS: Final = frozenset({"input_audio_buffer.committed", "input_audio_buffer.cleared"})
_ANSWER_HEARD: Final = frozenset({"output_audio_buffer.started", "bot-started-speaking"})
#: Responses that are followed: more are not under way unless somebody makes them up.
_MAX_RESPONSES: Final = 100


class Floor:
    """Follows turns and answers from their beginning to their end."""

    def __init__(self) -> None:
        self.caller_speaking = False
        """Whether a turn of the caller has begun and not ended."""
        self.turn_open = False
        """Whether a turn has ended of which nothing has come yet."""
        self._responses: dict[str, None] = {}

    @property
    def answering(self) -> bool:
        """Whether a response is being made."""
        return bool(self._responses)

    def observe(self, event: Mapping[str, Any]) -> None:
        """Follow an event."""
        kind = str(event.get("type"))
        if kind in _CALLER_BEGINS:
            self.caller_speaking = True
        elif kind in _CALLER_ENDS:
            self.caller_speaking, self.turn_open = False, True
        elif kind in _CALLER_STOPS:
            self.caller_speaking = False
        elif kind in _ANSWER_HEARD:
            self.turn_open = False
        elif kind == "response.created":
            self.turn_open = False
            self._responses[_id_in(event)] = None
            if len(self._responses) > _MAX_RESPONSES:
                del self._responses[next(iter(self._responses))]
        elif kind == "response.done":
            self._responses.pop(_id_in(event), None)


def _id_in(event: Mapping[str, Any]) -> str:
    response = event.get("response")
    return str(response.get("id")) if isinstance(response, Mapping) else ""
