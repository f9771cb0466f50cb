"""The way of the signaling: TCP to a server, each byte as late as it would be from afar."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from contextlib import closing
from types import TracebackType
from typing import Final, Self

from firsthop.bench.datagrams import Endpoint
from firsthop.bench.errors import BenchError
from firsthop.tasks import cancel

#: The server's first host candidate in an answer.
_CANDIDATE: Final = re.compile(rb"a=candidate:\S+ 1 udp \d+ ([\d.]+) (\d+) typ host", re.IGNORECASE)
_READY_SECONDS: Final = 10.0
_CHUNK_BYTES: Final = 1 << 16


class DelayedWay:
    """A TCP proxy in a thread of its own. A context manager; leaving ends it.

    Args:
        server: Where connections lead.
        listen: Where it takes them.
        delay_ms: What each byte takes, either way.
        found: Told the server's address and port when an answer that names it passes, before it
            passes.
    """

    def __init__(
        self, server: Endpoint, listen: Endpoint, delay_ms: float, found: Callable[[str], None]
    ) -> None:
        self._server, self._listen = server, listen
        self._delay_s = delay_ms / 1000
        self._found = found
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._problem: OSError | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="delayed-way")

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(_READY_SECONDS)
        if self._problem is not None:
            self._thread.join()
            raise BenchError(f"no proxy at {self._listen}: {self._problem}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        try:
            host, port = str(self._listen).rsplit(":", 1)
            server = await asyncio.start_server(self._take, host, int(port))
        except OSError as error:
            self._problem = error
            return
        finally:
            self._ready.set()
        async with server:
            await self._over.wait()
        await cancel(*self._connections)

    def _take(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._pass(client, to_client))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _pass(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        host, port = str(self._server).rsplit(":", 1)
        with closing(to_client):
            try:
                server, to_server = await asyncio.open_connection(host, int(port))
            except OSError:
                return
            with closing(to_server):
                async with asyncio.TaskGroup() as ways:
                    ways.create_task(self._delay(client, to_server, look=False))
                    ways.create_task(self._delay(server, to_client, look=True))

    async def _delay(
        self, source: asyncio.StreamReader, to: asyncio.StreamWriter, *, look: bool
    ) -> None:
        loop = asyncio.get_running_loop()
        try:
            while chunk := await source.read(_CHUNK_BYTES):
                if look and (candidate := _CANDIDATE.search(chunk)):
                    address, port = candidate.groups()
                    self._found(f"{address.decode()}:{port.decode()}")
                if self._delay_s:
                    loop.call_later(self._delay_s, to.write, chunk)
                else:
                    to.write(chunk)
        except ConnectionError:
            pass
        # What was said before its end is on its way, and earlier.
        await asyncio.sleep(self._delay_s)
        to.close()
