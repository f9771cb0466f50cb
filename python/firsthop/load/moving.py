"""Calls that go on elsewhere: a server that ends on purpose sends each of them a key for it."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import replace
from typing import Final

from firsthop._native import CallerReport, Callers
from firsthop.load.call import Call, Client
from firsthop.load.doors import Refused
from firsthop.load.measured import Move
from firsthop.load.placing import Placing
from firsthop.tasks import cancel

#: The type of the event; messages that do not hold it are not looked at.
WANTED: Final = "firsthop.handover"
#: Calls that are placed anew at once.
_AT_ONCE: Final = 64
_GLANCE_S: Final = 0.02
#: How long the new client is given to hear something.
_HEAR_S: Final = 10.0
#: Who heard something so lately was being spoken to.
_SOUNDING_S: Final = 0.1
#: So far apart are packets where nothing is wrong.
_PACING_MS: Final = 20.0


def key_of(message: str) -> str | None:
    """Return the key in an event that asks a call to go on elsewhere; None: it is no such event."""
    try:
        event = json.loads(message)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or event.get("type") != WANTED:
        return None
    secret = event.get("client_secret")
    value = secret.get("value") if isinstance(secret, dict) else None
    if not isinstance(value, str):
        return None
    # It goes into a header.
    return value if value and value.isascii() and value.isprintable() else None


class Moves:
    """Places calls anew that are asked to go on elsewhere.

    A client talks until the next one is connected, and hangs up then.

    Args:
        callers: The clients.
        calls: The call of each client; kept up to date.
        placing: How calls are placed.
        began: When the load began, by `time.monotonic`.
    """

    def __init__(
        self, callers: Callers, calls: dict[int, Call], placing: Placing, began: float
    ) -> None:
        self._callers = callers
        self._calls = calls
        self._placing = placing
        self._began = began
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._longest_gap_ms = 0.0
        self.made: list[Move] = []
        self.failures: Counter[str] = Counter()
        """Moves that failed, by cause."""
        self.examples: dict[str, str] = {}
        """What one of each cause was told."""

    def follow(self) -> None:
        """Begin to move the calls that were asked to since this was last called."""
        for caller, message in self._callers.messages():
            key, call = key_of(message), self._calls.get(caller)
            if key is None or call is None or call.moving:
                continue
            call.moving = True
            task = asyncio.create_task(self._move(call, key))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def cancel(self) -> None:
        """Leave the calls that are about to move where they are."""
        await cancel(*self._tasks)

    def take_longest_gap_ms(self) -> float:
        """Return the longest time between a call's packets at a move, since this was last asked.

        0: there was none.
        """
        longest, self._longest_gap_ms = self._longest_gap_ms, 0.0
        return longest

    async def _move(self, call: Call, key: str) -> None:
        asked = time.monotonic()
        try:
            async with self._slots:
                call.next = await self._placing.place(listens=call.listens, key=key)
                await self._connected(call.next)
        except Refused as refused:
            self.failures[refused.cause] += 1
            self.examples.setdefault(refused.cause, refused.message)
            if call.next is not None:
                await self._placing.end(call.next)
            call.next = None
            return
        else:
            before = self._change_over(call, call.next)
        finally:
            call.moving = False
        now, number = time.monotonic(), len(self.made)
        self.made.append(Move(now - self._began, (now - asked) * 1000, None))
        gap_ms = await self._gap_ms(before, call)
        if gap_ms is not None:
            self._longest_gap_ms = max(self._longest_gap_ms, gap_ms)
            self.made[number] = replace(self.made[number], gap_ms=max(gap_ms - _PACING_MS, 0.0))

    async def _connected(self, client: Client) -> None:
        """Wait until a client is connected.

        Raises:
            Refused: It will not be.
        """
        while (report := self._callers.call(client.caller)).state != "connected":
            if (cause := client.cause(report)) is not None:
                raise Refused(cause, "")
            await asyncio.sleep(_GLANCE_S)

    def _change_over(self, call: Call, client: Client) -> CallerReport:
        """Give a call its next client; what the one before told."""
        assert call.client is not None
        left = call.client.caller
        before = self._callers.call(left)
        self._callers.hang_up(left)
        del self._calls[left]
        self._calls[client.caller] = call
        call.first = call.first or before
        call.left.append(before)
        call.client, call.next = client, None
        return before

    async def _gap_ms(self, before: CallerReport, call: Call) -> float | None:
        """Return how long a call was quiet between its clients, at least; None: it was so anyway.

        A server that returns what it hears is never quiet of its own accord.
        """
        assert call.client is not None
        caller, until = call.client.caller, time.monotonic() + _HEAR_S
        if before.heard_s is None:
            return None
        _, last_s = before.heard_s
        if not before.returned and before.at_s - last_s > _SOUNDING_S:
            return None
        while True:
            try:
                report = self._callers.call(caller)
            except LookupError:
                return None
            if report.heard_s is not None:
                return (report.heard_s[0] - last_s) * 1000
            if time.monotonic() >= until:
                return (report.at_s - last_s) * 1000
            await asyncio.sleep(_GLANCE_S)
