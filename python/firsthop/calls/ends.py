"""The ends of a call's event channel: whoever is told of events, and may send some.

The caller's own end is the data channel of a WebRTC call, or the socket of a call that has no
other line; servers of the application may join by sockets beside it (sidebands).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from firsthop.backends.base import Traits
from firsthop.errors import OverloadedError

#: What waits for the data channel: it opens within a second or never.
_MAX_WAITING: Final = 500
#: After how long a line that does not keep up is asked again.
_RETRY_SECONDS: Final = 0.02

#: Sends one message on an open data channel; raises `OverloadedError` if it cannot now.
SendText = Callable[[str], None]


class End(Protocol):
    """One end."""

    @property
    def wants_audio(self) -> bool:
        """Whether the agent's sound goes to it in events."""

    def deliver(self, text: str) -> None:
        """Take one event, as JSON; never block."""

    def close(self) -> None:
        """Learn that the call is over."""


class DataChannel:
    """The caller's data channel, the first one that the client opens. It speaks the contract.

    Events wait until it is open, and while the line does not keep up: clients count on the end of
    every response that they were told of. Clients of another kind have a channel that says the same
    in their words: a subclass, which a signaling protocol names in its `Terms`.

    Args:
        send_text: Sends one message on the open channel.
        traits: The backend's.
    """

    wants_audio = False

    def __init__(self, send_text: SendText, traits: Traits) -> None:
        self.traits = traits
        self._send_text = send_text
        self._open = False
        self._waiting: deque[str] = deque()
        self._retry: asyncio.TimerHandle | None = None

    def opened(self, greeting: str) -> None:
        """Send a greeting, then what has waited."""
        if not self._open:
            self._open = True
            self.greet(greeting)
            self._send_on()

    def greet(self, greeting: str) -> None:
        """Put the contract's greeting before what waits."""
        self._waiting.appendleft(greeting)

    def received(self, text: str) -> list[str]:
        """Take one message of the client; return the client's events that it stands for."""
        return [text]

    def deliver(self, text: str) -> None:
        """Tell the client of an event of the contract."""
        self.say(text)

    def say(self, text: str) -> None:
        """Send a message, now or when that is possible."""
        if len(self._waiting) < _MAX_WAITING:
            self._waiting.append(text)
        self._send_on()

    def farewell(self) -> None:
        """Say that this side is about to end the call, to clients that have to be told."""

    def close(self) -> None:
        """Keep nothing."""
        self._open = False
        self._waiting.clear()
        if self._retry is not None:
            self._retry.cancel()

    def _send_on(self) -> None:
        while self._open and self._waiting and self._retry is None:
            try:
                self._send_text(self._waiting[0])
            except OverloadedError:
                loop = asyncio.get_running_loop()
                self._retry = loop.call_later(_RETRY_SECONDS, self._try_again)
            else:
                self._waiting.popleft()

    def _try_again(self) -> None:
        self._retry = None
        self._send_on()
