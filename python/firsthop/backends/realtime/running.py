"""The responses that a server makes, until each is over, and their sound until it was heard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from firsthop.backends.realtime.actions import Action, EndOfSound
from firsthop.backends.realtime.items import remember
from firsthop.backends.realtime.reading import GarbageError
from firsthop.backends.realtime.responses import Response
from firsthop.call import Place

Event = dict[str, Any]

#: Of all sound, in Hz.
RATE: Final = 24_000
_BYTES_PER_MS: Final = RATE * 2 / 1000
#: Responses that are followed at the same time.
_MAX_RESPONSES: Final = 32
#: Sound that may wait to be played, over all responses: ten minutes.
_MAX_SOUND: Final = 600 * RATE * 2


class Running:
    """Responses by id, in the order in which they began."""

    def __init__(self) -> None:
        self._responses: dict[str, Response] = {}
        self._over: dict[str, None] = {}
        self._sounds: dict[Place, int] = {}

    def __len__(self) -> int:
        return len(self._responses)

    def __iter__(self) -> Iterator[Response]:
        return iter(list(self._responses.values()))

    def response(self, response_id: str) -> Response | None:
        """A response that is not over."""
        return self._responses.get(response_id)

    def named(self, event: Mapping[str, Any]) -> str:
        """The id of the response that an event is about.

        Raises:
            GarbageError: It does not say.
        """
        if event["type"] in ("response.created", "response.done"):
            whole = event.get("response")
            response_id = whole.get("id") if isinstance(whole, dict) else None
        elif "response_id" not in event and len(self._responses) == 1:
            # Progress of a tool names its item only.
            response_id = next(iter(self._responses))
        else:
            response_id = event.get("response_id")
        if not isinstance(response_id, str):
            raise GarbageError
        return response_id

    def with_item(self, item_id: str) -> Response | None:
        """The response that has an item."""
        return next((one for one in self if one.owns(item_id)), None)

    def was(self, response_id: str) -> bool:
        """Whether a response is over."""
        return response_id in self._over

    def begin(self, response_id: str, told: object) -> Response:
        """Follow one more response.

        Args:
            response_id: Its id.
            told: The server's response object, if it is one.

        Raises:
            GarbageError: There are too many.
        """
        if len(self._responses) >= _MAX_RESPONSES:
            raise GarbageError
        known: Mapping[str, Any] = told if isinstance(told, dict) else {}
        value = {"object": "realtime.response", "output": [], **known}
        value |= {"id": response_id, "status": "in_progress"}
        response = self._responses[response_id] = Response(response_id, value)
        return response

    def forget(self, response: Response) -> None:
        """Take note that a response is over."""
        del self._responses[response.id]
        remember(self._over, response.id)

    def due(self) -> float | None:
        """When the next of them has to end, in seconds of the clock."""
        dues = [due for one in self for due in (one.cancel_by, one.end_by)]
        return min((due for due in dues if due is not None), default=None)

    # Their sound.

    def check_room(self, pcm: bytes) -> None:
        """See that sound may wait to be played.

        Raises:
            GarbageError: There is too much already.
        """
        if sum(self._sounds.values()) + len(pcm) > _MAX_SOUND:
            raise GarbageError

    def sounded(self, place: Place, pcm: bytes) -> None:
        """Take note of more sound at a place."""
        self._sounds[place] = self._sounds.get(place, 0) + len(pcm)

    def played(self, place: Place) -> int:
        """Take note that nothing waits at a place any more; return how much there was, in ms."""
        return int(self._sounds.pop(place, 0) / _BYTES_PER_MS)

    def ends_of_part(self, event: Mapping[str, Any]) -> list[Action]:
        """What ends the sound of the part that an event is about."""
        names = ("response_id", "item_id", "content_index")
        where = tuple(event.get(name, 0 if name == "content_index" else None) for name in names)
        return [
            EndOfSound(place)
            for place in self._sounds
            if (place.response_id, place.item_id, place.content_index) == where
        ]

    def ends_of(self, response: Response) -> list[Action]:
        """What ends the sound of a response."""
        return [EndOfSound(place) for place in self._sounds if place.response_id == response.id]
