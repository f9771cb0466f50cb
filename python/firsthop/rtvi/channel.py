"""The data channel of a client that speaks RTVI.

A bot that speaks it too gets the client's messages as they are, and the client its. Before any
other backend, RTVI is translated.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

from firsthop.backends.base import Traits
from firsthop.calls.ends import DataChannel, SendText
from firsthop.calls.leaving import HANDOVER
from firsthop.realtime.events import as_json
from firsthop.rtvi.messages import LABEL, Message, RequestError, peer_left, read
from firsthop.rtvi.translation import Translation, unnumbered


class RtviChannel(DataChannel):
    """Speaks RTVI.

    Args:
        send_text: Sends one message on the open channel.
        traits: The backend's.
        hang_up: Ends the call, if it has not ended.
        ended: Called when the call is over.
    """

    def __init__(
        self,
        send_text: SendText,
        traits: Traits,
        *,
        hang_up: Callable[[], None],
        ended: Callable[[], None],
    ) -> None:
        super().__init__(send_text, traits)
        self._hang_up = hang_up
        self._ended = ended
        self._translation = Translation(custom=not traits.realtime, now=_now)
        self._parted = False

    def greet(self, greeting: str) -> None:
        """Say nothing: clients of this kind speak first."""

    def received(self, text: str) -> list[str]:
        """Take one message of the client; return the client's events that it stands for."""
        try:
            message = read(text)
        except RequestError as refusal:
            self._tell(refusal.answer())
            return []
        if message is None:
            return []
        if self.traits.rtvi:
            return [text]
        if message["type"] == "disconnect-bot":
            self.farewell()
            self._hang_up()
            return []
        events, answers = self._translation.ask(message)
        for answer in answers:
            self._tell(answer)
        return [as_json(event) for event in events]

    def deliver(self, text: str) -> None:
        """Tell the client of an event of the contract, in its words."""
        event = json.loads(text)
        if not self.traits.rtvi:
            messages = self._translation.tell(event)
        elif event.get("label") == LABEL:
            messages = [unnumbered(event)]
        elif event.get("type") == HANDOVER:
            # The bot knows nothing of where its calls are.
            messages = self._translation.tell(event)
        else:
            # The bot tells what happens; only what went wrong on the way to it is ours to tell.
            messages = self._translation.fail(event) if event.get("type") == "error" else []
        for message in messages:
            self._tell(message)

    def farewell(self) -> None:
        """Say that the bot is gone: a client that only finds its connection lost comes back."""
        if not self._parted:
            self._parted = True
            self._tell(peer_left())

    def abandon(self) -> None:
        """Say nothing more: the client has gone on to another call, and would end that one."""
        super().close()
        self._parted = True

    def close(self) -> None:
        """Keep nothing, and say that the call is over."""
        super().close()
        self._ended()

    def _tell(self, message: Message) -> None:
        self.say(as_json(message))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
