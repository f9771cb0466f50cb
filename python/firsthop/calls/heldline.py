"""The line as its call holds it: bound after the call was made, and told until it listens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from firsthop.call import Sound
from firsthop.calls.line import Line
from firsthop.errors import OverloadedError

#: After how long a line that does not keep up is told again.
_RETRY_SECONDS: Final = 0.02


class HeldLine:
    """A call's hold of its line, to be bound once. It owns the commands that must not be lost.

    What the caller may try again himself raises `OverloadedError` if the line does not take it.
    """

    def __init__(self) -> None:
        self._line: Line | None = None
        self._released = False

    @property
    def paced(self) -> bool:
        """Whether sound leaves as it is heard, as far as is known."""
        return self._line is None or self._line.paced

    def bind(self, line: Line) -> None:
        """Have this line from now on."""
        self._line = line

    def release(self) -> None:
        """Let go: the call is over, and nothing is told again."""
        self._released = True

    def play(self, utterance: int, sound: Sound, *, complete: bool) -> None:
        """Queue the next part of an utterance; see `Line.play`."""
        self._bound().play(utterance, sound, complete=complete)

    def mirror(self, utterance: int) -> None:
        """Say what the caller says; see `Line.mirror`."""
        self._bound().mirror(utterance)

    def send(self, text: str) -> None:
        """Send a message on the data channel."""
        self._bound().send(text)

    async def renegotiate(self, offer: str) -> str:
        """Answer an SDP offer in mid-call; see `Line.renegotiate`."""
        return await self._bound().renegotiate(offer)

    def flush(self) -> None:
        """Drop what has not been sent, now or as soon as the line hears."""
        self._insist(self._bound().flush)

    def close(self) -> None:
        """Hang up, now or as soon as the line hears."""
        self._insist(self._bound().close)

    def _insist(self, command: Callable[[], None]) -> None:
        if self._released:
            return
        try:
            command()
        except OverloadedError:
            asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._insist, command)

    def _bound(self) -> Line:
        if self._line is None:
            raise RuntimeError("the call is not connected to its line")
        return self._line
