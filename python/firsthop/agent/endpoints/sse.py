"""Server-sent events, as far as APIs use them (WHATWG HTML §9.2.6). No I/O.

Of an event only its data is of interest. What follows the last blank line counts too: there are
servers that leave it out.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

from firsthop.agent.endpoints.garbage import GarbageError

#: Longest line, and most data in one event, in characters.
_MAX: Final = 512 * 1024
_END_OF_LINE: Final = re.compile(r"\r\n|\r|\n")


class EventStream:
    """Takes a body as it comes, and returns the data of its events."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._begun = False
        self._rest: list[str] = []
        self._waiting = 0
        self._data: list[str] = []
        self._size = 0
        self._after_return = False

    def feed(self, body: bytes) -> list[str]:
        """Return the data of all events that are complete now.

        Raises:
            GarbageError: A line, or an event, has no end.
        """
        return self._lines(self._decoder.decode(body))

    def finish(self) -> list[str]:
        """Return the data of an event that was not ended."""
        events = self._lines(self._decoder.decode(b"", final=True) + "\n")
        return events + self._dispatch()

    def _lines(self, text: str) -> list[str]:
        text = self._unmarked(text)
        *ended, rest = _END_OF_LINE.split(text)
        events: list[str] = []
        for line in ended:
            whole = "".join(self._rest) + line
            self._rest, self._waiting = [], 0
            events += self._line(whole)
        self._waiting += len(rest)
        if rest:
            self._rest.append(rest)
        if self._waiting > _MAX:
            raise GarbageError("sent a line without an end")
        return events

    def _unmarked(self, text: str) -> str:
        """Take away what is no part of a line: a byte order mark, and a LF after a last CR."""
        if text and not self._begun:
            self._begun = True
            text = text.removeprefix("\ufeff")
        if text and self._after_return:
            text = text.removeprefix("\n")
            self._after_return = False
        if text.endswith("\r"):
            self._after_return = True
        return text

    def _line(self, line: str) -> list[str]:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        if name == "data":
            self._data.append(value.removeprefix(" "))
            self._size += len(value) + 1
            if self._size > _MAX:
                raise GarbageError("sent an event without an end")
        return []

    def _dispatch(self) -> list[str]:
        data, self._data, self._size = self._data, [], 0
        return ["\n".join(data)] if data else []
