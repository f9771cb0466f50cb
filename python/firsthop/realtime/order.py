"""The order of an agent's responses: one at a time is told of, then the next."""

from __future__ import annotations

from collections import deque
from typing import Final

from firsthop.realtime.conversation import Conversation
from firsthop.realtime.messages import Speech
from firsthop.realtime.output import Emit
from firsthop.realtime.outputitems import OutputItem
from firsthop.realtime.responses import Response

#: Speeches that a client may yet say how much it heard of.
_MAX_SPOKEN: Final = 20


class Order:
    """Responses that are not done. The first one is under way.

    Args:
        items: The cache that all events pass.
        emit: Takes the events for the client.
    """

    def __init__(self, items: Conversation, emit: Emit) -> None:
        self._items = items
        self._emit = emit
        self._responses: deque[Response] = deque()
        self._spoken: deque[Speech] = deque(maxlen=_MAX_SPOKEN)
        self._advancing = False
        self.begun = 0
        """How many there were."""

    def __len__(self) -> int:
        return len(self._responses)

    def active(self, response_id: str | None) -> bool:
        """Whether a response, or any, is not done."""
        return any(response_id in (None, response.id) for response in self._responses)

    def makes(self, item_id: str) -> bool:
        """Whether an item is one of a response that is not done."""
        return any(item.item_id == item_id for one in self._responses for item in one.items)

    def spoken(self, item_id: str) -> Speech | None:
        """What was said as an item, if that was not long ago."""
        return next((one for one in self._spoken if one.item_id == item_id), None)

    def begin(self, response: Response) -> None:
        """Let a response be told of, after those that came before."""
        self.begun += 1
        self._responses.append(response)
        self.advance()

    def advance(self) -> None:
        """Tell of the first response, and end it if it is complete; then the next.

        What is told may lead back here: the agent begins to work when its response is told of.
        """
        while self._responses and not self._advancing:
            response = self._responses[0]
            self._advancing = True
            try:
                done = response.advance(self._emit, lambda: self._items.last)
            finally:
                self._advancing = False
            for item in response.items:
                if isinstance(item, Speech) and item.announced and item not in self._spoken:
                    self._spoken.append(item)
            if not done:
                return
            self._responses.popleft()

    def withdraw(self, item: OutputItem) -> None:
        """Forget an item that nobody was told of, and its response if that was all of it."""
        for response in self._responses:
            if item in response.items:
                response.remove(item)
                if not response.items and not response.open and not response.announced:
                    self._responses.remove(response)
                return
