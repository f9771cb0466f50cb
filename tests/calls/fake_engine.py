"""An engine without sockets: takes notes, and reports what the test tells it to."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping, Sequence
from typing import Any, cast

from firsthop._native import Engine, Event, OpusPacket
from firsthop.errors import OverloadedError

Note = tuple[object, ...]


async def no_offers(session: int, offer: str) -> str:
    """Stands in for what answers offers in mid-call, where there are none."""
    raise AssertionError((session, offer))


class FakeEngine:
    """Stands in for the native engine."""

    def __init__(self, **options: object) -> None:
        self.options = options
        self.notes: list[Note] = []
        """Every command taken, in order; of texts, `texts` has the content."""
        self.texts: list[dict[str, Any]] = []
        self.accepted: list[dict[str, int]] = []
        """How the sound of each session was wanted."""
        self.channels: list[int | None] = []
        """The data channel that each session was to know of."""
        self.candidates: list[tuple[Sequence[str] | None, Sequence[str] | None]] = []
        """What each session's answer was to name, by UDP and by TCP."""
        self.overloads = 0
        """How many of the next commands it does not take."""
        self.stopped = False
        self.refusal: Exception | None = None
        """What `accept` raises, if anything."""
        self._sessions = 0
        self._waiting: list[Event] = []
        self._noted = asyncio.Event()
        self._sockets: tuple[socket.socket, socket.socket] | None = None

    @property
    def native(self) -> Engine:
        """The engine, for whoever wants the native one."""
        return cast(Engine, self)

    def report(self, *events: Event) -> None:
        """Have events wait."""
        self._waiting += events
        self._pair()[1].send(b"!")

    async def until(self, *note: object) -> None:
        """Wait until this command was taken."""
        while note not in self.notes:
            self._noted.clear()
            await self._noted.wait()

    def accept(
        self,
        offer: str,
        *,
        channel: int | None = None,
        advertised: Sequence[str] | None = None,
        advertised_tcp: Sequence[str] | None = None,
        **audio: int,
    ) -> tuple[int, str]:
        """Accept every offer, unless there is a refusal."""
        if self.refusal is not None:
            raise self.refusal
        self.channels.append(channel)
        self.candidates.append((advertised, advertised_tcp))
        self._sessions += 1
        self.accepted.append(audio)
        return self._sessions, f"answer to {offer}"

    def play(self, session: int, utterance: int, pcm: bytes, *, complete: bool) -> None:
        """Take note."""
        self._take("play", session, utterance, pcm, complete)

    accept_opus = accept

    def set_keys(self, keys: Mapping[int, bytes], key_id: int) -> None:
        """Take note."""
        self._take("set_keys", keys, key_id)

    def renegotiate(self, session: int, offer: str) -> None:
        """Take note; the test reports the answer."""
        self._take("renegotiate", session, offer)

    def play_opus(
        self, session: int, utterance: int, packets: Sequence[OpusPacket], *, complete: bool
    ) -> None:
        """Take note."""
        self._take("play_opus", session, utterance, tuple(packets), complete)

    def mirror(self, session: int, utterance: int) -> None:
        """Take note."""
        self._take("mirror", session, utterance)

    def flush(self, session: int) -> None:
        """Take note."""
        self._take("flush", session)

    def send(self, session: int, text: str) -> None:
        """Take note."""
        self._take("send", session)
        self.texts.append(json.loads(text))

    def close(self, session: int) -> None:
        """Take note."""
        self._take("close", session)

    def take_events(self) -> list[Event]:
        """All events that wait."""
        self._pair()[0].recv(64)
        events, self._waiting = self._waiting, []
        return events

    def fileno(self) -> int:
        """Readable when events wait."""
        return self._pair()[0].fileno()

    def addresses(self) -> list[str]:
        """Some address."""
        return ["127.0.0.1:3500"]

    def counters(self) -> dict[str, int]:
        """No counts."""
        return {"sessions": 0, "ingress_packets": 0, "egress_packets": 0, "paths_lost": 0}

    def stop(self) -> None:
        """Close what is open."""
        self.stopped = True
        for end in self._sockets or ():
            end.close()

    def _pair(self) -> tuple[socket.socket, socket.socket]:
        self._sockets = self._sockets or socket.socketpair()
        return self._sockets

    def _take(self, *note: object) -> None:
        if self.stopped:
            raise RuntimeError("the engine is stopped")
        if self.overloads:
            self.overloads -= 1
            raise OverloadedError("a test")
        self.notes.append(note)
        self._noted.set()
