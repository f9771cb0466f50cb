"""A server of tools that is a process of ours, spoken to on its standard streams.

The `mcp` package has this too, but reads lines of any length, each piece of one copying all before
it: a tool that returns 32 MB would take the service seconds of CPU. Here a line has a limit.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeAlias

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp.types import jsonrpc_message_adapter

from firsthop.tasks import cancel

#: Longest message, in bytes.
MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
#: Lines in a row that may be no messages. Servers print things; one that only prints is none.
MAX_GARBAGE: Final = 100
#: How long a process may take to end when its input does, and when it is told to.
_GRACE_SECONDS = 1.0

Incoming: TypeAlias = MemoryObjectReceiveStream[SessionMessage | Exception]
Outgoing: TypeAlias = MemoryObjectSendStream[SessionMessage]


@asynccontextmanager
async def process(
    command: Sequence[str], environment: Mapping[str, str], lost: Callable[[str], None]
) -> AsyncIterator[tuple[Incoming, Outgoing]]:
    """Start a server, and yield the streams of its messages. It ends with the block.

    Its errors go nowhere: they are not ours to show, and may hold what callers say.

    Args:
        command: The program and its arguments.
        environment: Variables, besides what programs need.
        lost: Told when and why no message comes any more.

    Raises:
        OSError: It cannot be started.
    """
    child = await asyncio.create_subprocess_exec(
        *command,
        env=get_default_environment() | dict(environment),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=MAX_MESSAGE_BYTES,
        # It may start others: they are ended as a group.
        start_new_session=True,
    )
    assert child.stdin is not None and child.stdout is not None
    to_us, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outgoing, to_it = anyio.create_memory_object_stream[SessionMessage](0)
    reader = asyncio.create_task(_read(child.stdout, to_us, lost))
    writer = asyncio.create_task(_write(child.stdin, to_it, to_us, lost))
    try:
        yield incoming, outgoing
    finally:
        for stream in (to_us, incoming, outgoing, to_it):
            stream.close()
        await _end(child, reader, writer)


async def _read(
    stdout: asyncio.StreamReader,
    to_us: MemoryObjectSendStream[SessionMessage | Exception],
    lost: Callable[[str], None],
) -> None:
    """Pass messages on, each when the one before was taken."""
    garbage = 0
    with to_us, suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
        while garbage < MAX_GARBAGE:
            try:
                line = await stdout.readline()
            except ValueError:
                return lost(f"it wrote a message of more than {MAX_MESSAGE_BYTES} bytes")
            if not line:
                return lost("it ended")
            try:
                message = jsonrpc_message_adapter.validate_json(line, by_name=False)
            except ValueError:
                garbage += 1
                continue
            garbage = 0
            await to_us.send(SessionMessage(message))
        lost("it writes what are no messages")


async def _write(
    stdin: asyncio.StreamWriter,
    to_it: MemoryObjectReceiveStream[SessionMessage],
    to_us: MemoryObjectSendStream[SessionMessage | Exception],
    lost: Callable[[str], None],
) -> None:
    with to_it, suppress(ConnectionError):
        async for outgoing in to_it:
            text = outgoing.message.model_dump_json(by_alias=True, exclude_unset=True)
            stdin.write(text.encode() + b"\n")
            await stdin.drain()
        return
    lost("it closed its input")
    # Who waits for an answer learns that none will come.
    to_us.close()


async def _end(child: asyncio.subprocess.Process, *tasks: asyncio.Task[None]) -> None:
    """End a process and the tasks that speak to it; at once, if this is cancelled."""
    end = asyncio.create_task(_end_by_steps(child, *tasks))
    cancelled = False
    while not end.done():
        try:
            await asyncio.wait({end})
        except asyncio.CancelledError:
            cancelled = True
            _signal(child, signal.SIGKILL)
    # What it started may have outlived it.
    _signal(child, signal.SIGKILL)
    if cancelled:
        raise asyncio.CancelledError


async def _end_by_steps(child: asyncio.subprocess.Process, *tasks: asyncio.Task[None]) -> None:
    """End a process: by the end of its input, by asking, by force."""
    assert child.stdin is not None and child.stdout is not None
    await cancel(*tasks)
    child.stdin.close()
    # It may be waiting for somebody to read what it wrote.
    rest = asyncio.create_task(_discard(child.stdout))
    for step in (None, signal.SIGTERM, signal.SIGKILL):
        if step is not None:
            _signal(child, step)
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_SECONDS):
                await child.wait()
                break
    await cancel(rest)


async def _discard(stdout: asyncio.StreamReader) -> None:
    while await stdout.read(65_536):
        pass


def _signal(child: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Signal the process and all that it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)
