"""What waits to be sent to a server, in order: events, and the caller's sound between them."""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from firsthop.backends.realtime.actions import Append, ToServer
from firsthop.realtime.events import as_json

#: Events that may wait.
_MAX_EVENTS: Final = 1000
#: Sound that may wait, in bytes: five seconds at 24 kHz. Older sound goes first.
_MAX_SOUND: Final = 5 * 48_000
#: Sound is sent in pieces of at most as much, in bytes: half a second.
_PIECE: Final = 24_000
#: What still makes sense on another connection.
_LASTING: Final = frozenset({"conversation.item.create"})


class Outbox:
    """A bounded queue. It outlives connections."""

    def __init__(self) -> None:
        self._waiting: deque[Append | ToServer] = deque()
        self._events = 0
        self._sound = 0
        self._news = asyncio.Event()

    @property
    def sound(self) -> int:
        """How much sound waits, in bytes."""
        return self._sound

    def put(self, entry: Append | ToServer) -> bool:
        """Add something; return False if there is no room for an event."""
        if isinstance(entry, ToServer):
            if self._events >= _MAX_EVENTS:
                return False
            self._events += 1
            self._waiting.append(entry)
        elif entry.pcm:
            self._sound += len(entry.pcm)
            self._waiting.append(entry)
            while self._sound > _MAX_SOUND:
                self._drop_oldest_sound()
        self._news.set()
        return True

    def put_first(self, entries: list[ToServer]) -> None:
        """Add events before all that waits."""
        self._waiting.extendleft(reversed(entries))
        self._events += len(entries)
        self._news.set()

    def disconnect(self) -> list[Mapping[str, Any]]:
        """Drop the events that mean nothing to another connection, and return them."""
        kept: deque[Append | ToServer] = deque()
        dropped = []
        for entry in self._waiting:
            if isinstance(entry, ToServer) and entry.event.get("type") not in _LASTING:
                dropped.append(entry.event)
            else:
                kept.append(entry)
        self._waiting, self._events = kept, self._events - len(dropped)
        return dropped

    async def get(self) -> str:
        """Wait for the next event and return it as JSON; sound that waits goes together."""
        while not self._waiting:
            self._news.clear()
            await self._news.wait()
        entry = self._waiting.popleft()
        if isinstance(entry, ToServer):
            self._events -= 1
            return as_json(entry.event)
        pcm = entry.pcm
        while self._waiting and len(pcm) < _PIECE:
            following = self._waiting[0]
            if not isinstance(following, Append):
                break
            pcm += self._take_sound(following)
        self._sound -= len(pcm)
        # Base64 needs no escaping.
        audio = base64.b64encode(pcm).decode("ascii")
        return f'{{"type":"input_audio_buffer.append","audio":"{audio}"}}'

    def _take_sound(self, entry: Append) -> bytes:
        self._waiting.popleft()
        return entry.pcm

    def _drop_oldest_sound(self) -> None:
        for n, entry in enumerate(self._waiting):
            if isinstance(entry, Append):
                self._sound -= len(entry.pcm)
                del self._waiting[n]
                return
