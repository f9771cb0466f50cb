"""How an answer is sent: in its time, or as a fault has it."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from firsthop.bench.endpoints.connection import BrokenError, Connection
from firsthop.bench.endpoints.plays import Play
from firsthop.bench.endpoints.script import Fault, Stage

_PAGE: Final = b"<!doctype html><title>Welcome</title><h1>Welcome to nginx!</h1>" + b" " * 2000
_GARBAGE_BYTES: Final = 20_000

Note = Callable[[], None]
Outcome = Literal["open", "done", "refused", "fault", "left"]


@dataclass
class Answer:
    """What became of a request."""

    stage: Stage
    number: int
    """Counted from 0, per stage."""
    asked_at: float
    """When the request was read to its end, in seconds of the monotonic clock."""
    delay_ms: float = 0.0
    """What was drawn for the first part."""
    parts_ms: list[float] = field(default_factory=list)
    """When each part was sent, from `asked_at` on: the transcript, each token, each piece of
    sound. The last of chat is the end mark."""
    outcome: Outcome = "open"
    """left: the client went away before the end."""
    text: str = ""
    """What was to be said, of speech."""


async def send(connection: Connection, answer: Answer, played: Play, note: Note) -> None:
    """Send the right answer.

    Args:
        connection: The client's.
        answer: Is told when each part was sent.
        played: What to send.
        note: Called after each part.
    """
    await _parts(connection, answer, played, note)
    await connection.end()


async def go_wrong(
    connection: Connection, answer: Answer, played: Play, fault: Fault, note: Note
) -> None:
    """Do what the fault says instead.

    Raises:
        BrokenError: The connection is to be closed.
    """
    match fault.kind:
        case "close":
            raise BrokenError
        case "reset":
            connection.reset()
        case "hang":
            await asyncio.Event().wait()
        case "status" | "answer" | "html" | "garbage":
            await _wait(next(played.parts)[0])
            await _other(connection, played, fault)
        case "stop" | "end" | "stall":
            await _parts(connection, answer, played, note, most=fault.after)
            if fault.kind == "stop":
                raise BrokenError
            if fault.kind == "stall":
                await asyncio.Event().wait()
            await connection.end()
        case "drip":
            await connection.head(200, played.content_type)
            for byte in b"".join(data for _, data in played.parts):
                await connection.part(bytes([byte]))
                await _wait(fault.every_ms)
            await connection.end()


async def _parts(
    connection: Connection, answer: Answer, played: Play, note: Note, *, most: int | None = None
) -> None:
    due = answer.asked_at
    for number, (delay_ms, data) in enumerate(itertools.islice(played.parts, most)):
        due += delay_ms / 1000
        await _wait((due - time.monotonic()) * 1000)
        if number == 0:
            answer.delay_ms = delay_ms
            await connection.head(200, played.content_type, x_delay_ms=f"{delay_ms:.3f}")
        # The client may have it before this goes on.
        sent = time.monotonic()
        await connection.part(data)
        answer.parts_ms.append((sent - answer.asked_at) * 1000)
        note()


async def _other(connection: Connection, played: Play, fault: Fault) -> None:
    headers = {name.replace("-", "_"): value for name, value in fault.headers.items()}
    match fault.kind:
        case "status":
            body = b'{"error": {"message": "scripted", "type": "server_error"}}'
            await connection.whole(fault.status, fault.body or body, **headers)
        case "html":
            await connection.whole(200, _PAGE, "text/html; charset=utf-8")
        case "garbage":
            body = random.Random(_GARBAGE_BYTES).randbytes(_GARBAGE_BYTES)
            await connection.whole(200, body, played.content_type)
        case _:
            await connection.whole(200, fault.body, fault.content_type, **headers)


async def _wait(ms: float) -> None:
    if ms > 0:
        await asyncio.sleep(ms / 1000)
