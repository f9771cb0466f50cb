"""Stand-ins for what lies below the unit under test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from firsthop.call import Call, CallEvent, Played, Reply, Sound
from firsthop.errors import OverloadedError

Note = tuple[object, ...]


class Line(Call):
    """A call whose line only takes notes; the test says what comes back."""

    def __init__(self, *, sample_rate: int = 16_000) -> None:
        super().__init__("rtc_test", sample_rate=sample_rate, interruptible=True)
        self.notes: list[Note] = []
        """Everything asked of the line, in order."""
        self.overloads = 0
        """How many of the next pieces the line does not take."""
        self._noted = asyncio.Event()
        self.configured: dict[str, Any] = {}
        """The session, as the client would have configured it."""
        self.remembered: dict[str, Mapping[str, Any]] = {}
        """The items of the conversation, by id."""
        self.handled: list[CallEvent] = []
        """What the agent has come back from."""

    @property
    def session(self) -> Mapping[str, Any]:
        """The session that the test configured."""
        return self.configured

    @property
    def items(self) -> list[Mapping[str, Any]]:
        """The items that the test remembers."""
        return list(self.remembered.values())

    def item(self, item_id: str) -> Mapping[str, Any] | None:
        """One of them."""
        return self.remembered.get(item_id)

    def reply(
        self, work: Callable[[Reply], Awaitable[None]], *, to: CallEvent | None = None
    ) -> Reply:
        """Have none: what answers is tested with a whole call."""
        raise NotImplementedError

    async def invoke(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Take note; every tool says nothing."""
        self._note("invoke", name, dict(arguments))
        return ""

    def fail(
        self,
        code: str,
        message: str,
        *,
        event_id: str | None = None,
        param: str | None = None,
    ) -> None:
        """Take note."""
        self._note("fail", code, message, event_id, param)

    def connect(self) -> None:
        """Report that sound flows."""
        self._up.set()

    async def until(self, *note: object) -> None:
        """Wait until the line was asked for this."""
        while note not in self.notes:
            self._noted.clear()
            await self._noted.wait()

    def heard(self, utterance: int) -> bytes:
        """Return what was said as one utterance."""
        said = [note for note in self.notes if note[:2] == ("play", utterance)]
        return b"".join(note[2] for note in said if isinstance(note[2], bytes))

    def settle(self, utterance: int, ms: int = 0, *, interrupted: bool = False) -> None:
        """Report the end of an utterance."""
        self._playout_ended(utterance, Played(ms=ms, interrupted=interrupted))

    def deliver(self, *events: CallEvent) -> None:
        """Report what the caller does."""
        for event in events:
            self._deliver(event)

    def end(self, reason: str = "client_closed") -> None:
        """Report the end of the call."""
        self._end(reason)

    def _play(self, utterance: int, sound: Sound, *, complete: bool) -> None:
        if self.overloads:
            self.overloads -= 1
            raise OverloadedError("a test")
        self._note("play", utterance, sound, complete)

    def _flush(self) -> None:
        self._note("flush")

    def _send(self, event: Mapping[str, Any]) -> None:
        self._note("send", dict(event))

    def _close(self) -> None:
        self._note("close")

    def _handled(self, event: CallEvent) -> None:
        self.handled.append(event)

    def _note(self, *note: object) -> None:
        self.notes.append(note)
        self._noted.set()
