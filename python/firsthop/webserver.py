"""HTTP as a process serves it: bound before anything else, until the process is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI
from rich.console import Console
from rich.table import Table
from rich.text import Text

from firsthop.config import ENVIRONMENT_PREFIX
from firsthop.draining import ClosesConnections, Draining
from firsthop.errors import FirsthopError
from firsthop.signaling.connection import WebSocketConnection
from firsthop.signaling.socketend import MAX_AUDIO_MESSAGE
from firsthop.tasks import cancel, raise_failure

_console = Console(highlight=False)


class StartError(FirsthopError):
    """A part could not start; the message says what to do about it."""


@contextlib.contextmanager
def explained(section: str) -> Iterator[None]:
    """Turn what the system refused into a line that says how to go on.

    What raises names the setting within its `section` first, as in ``listen 0.0.0.0:3478: ...``.
    """
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (os error")[0]
        setting = f"{section}.{reason.split()[0].rstrip(':')}"
        raise StartError(f"{section}.{reason}. {_way_out(error, setting)}") from None


def _way_out(error: OSError, setting: str) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            variable = ENVIRONMENT_PREFIX + setting.upper().replace(".", "__")
            return f"Stop who listens there, or choose another address with {variable}."
        case errno.EACCES | errno.EPERM:
            return "Ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher one."
        case errno.EADDRNOTAVAIL:
            return "This machine has no such address; `ip address` lists what it has."
        case _:
            return "`firsthop settings` shows what is in effect."


async def serve_http(
    app: FastAPI,
    address: str,
    setting: str,
    rows: list[tuple[str, str, str]],
    next_step: str,
    *,
    inherited: socket.socket | None = None,
    until: Callable[[socket.socket], Coroutine[None, None, None]] | None = None,
    draining: Draining | None = None,
) -> None:
    """Serve HTTP until SIGINT or SIGTERM, after telling what listens where.

    Args:
        app: What is served.
        address: Where.
        setting: The setting that `address` is from.
        rows: What is told: part, address, note.
        next_step: What the user may do next.
        inherited: A socket that is bound already, by `bind_for` or by another process; used if it
            is at `address`.
        until: Given the listening socket; ends the server when it returns.
        draining: Done at the first SIGTERM; then the server ends. A second one does not wait.
    """
    host, _, port = address.rpartition(":")
    # Bound here, so that a port that is taken is our error and not uvicorn's exit.
    section, _, name = setting.partition(".")
    bound = _inherit(inherited, host.strip("[]"), int(port))
    with explained(section):
        bound = bound or _bind(name, host.strip("[]"), int(port))
    if draining is not None:
        app.add_middleware(ClosesConnections, draining=draining)
    server = _Server(http_config(app), lambda: _announce(rows, next_step), draining)
    async with _beside(None if until is None else until(bound), server, section):
        await server.serve(sockets=[bound])


def http_config(app: FastAPI) -> uvicorn.Config:
    """How HTTP and WebSockets are served, wherever that is."""
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        # What runs besides HTTP is started and stopped around the server, not by it.
        lifespan="off",
        timeout_graceful_shutdown=1,
        # A slow client cannot hold a connection for long before it has said what it wants.
        timeout_keep_alive=5,
        server_header=False,
        # Whose word counts is a setting of ours: `signaling.proxies`.
        proxy_headers=False,
        ws=WebSocketConnection,
        ws_max_size=MAX_AUDIO_MESSAGE,
        # A peer that is gone without a word is missed within a minute.
        ws_ping_interval=20,
        ws_ping_timeout=20,
    )


@asynccontextmanager
async def _beside(
    work: Coroutine[None, None, None] | None, server: _Server, section: str
) -> AsyncIterator[None]:
    """Do `work` while the server runs. Its end, good or bad, is the server's."""
    if work is None:
        yield
        return
    task = asyncio.create_task(work)
    task.add_done_callback(lambda _: server.stop())
    try:
        yield
    finally:
        outcomes = await cancel(task)
        with explained(section):
            raise_failure(outcomes)


def bind_for(section: str, address: str) -> socket.socket:
    """Bind a part's `listen` before the part gets ready: that an address is taken is said at once.

    Raises:
        StartError: It is taken, or not this machine's.
    """
    host, _, port = address.rpartition(":")
    with explained(section):
        return _bind("listen", host.strip("[]"), int(port))


def _inherit(inherited: socket.socket | None, host: str, port: int) -> socket.socket | None:
    """Keep the inherited socket if it is at the address that is asked for; else let it go."""
    if inherited is not None and inherited.getsockname()[:2] != (host, port):
        inherited.close()
        return None
    return inherited


def _bind(name: str, host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle's algorithm off only where the protocol is named. With it the body of an
    # answer would wait for the acknowledgement of its headers: a round trip, or 40 ms.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise OSError(error.errno, f"{name} {host}:{port}: {error.strerror}") from None
    return bound


class _Server(uvicorn.Server):
    """uvicorn, with our own word at the start, and an end that waits for what is under way."""

    def __init__(
        self, config: uvicorn.Config, started: Callable[[], None], draining: Draining | None
    ) -> None:
        super().__init__(config)
        self._started = started
        self._draining = draining
        self._ending: asyncio.Task[None] | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until the end. A drain that was not waited for has told so when this returns."""
        try:
            await super().serve(sockets)
        finally:
            if self._ending is not None:
                raise_failure(await cancel(self._ending))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        if not self.should_exit:
            self._started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGINT; on SIGTERM too, once the part is drained.

        Unlike uvicorn's, these are not raised again afterwards, and another one while it stops
        changes nothing: the farewell is short, and an impatient Ctrl-C must not tear it. The loop
        removes the handlers when it is closed.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self.stop)
        loop.add_signal_handler(signal.SIGTERM, self._end)
        yield

    def stop(self) -> None:
        """End, soon."""
        self.should_exit = True

    def _end(self) -> None:
        if self.should_exit or self._draining is None or not self._draining.wanted:
            return self.stop()
        self._ending = asyncio.create_task(self._draining.run())
        self._ending.add_done_callback(lambda _: self.stop())


def _announce(rows: list[tuple[str, str, str]], next_step: str) -> None:
    table = Table.grid(padding=(0, 2))
    for part, address, note in rows:
        # Not markup: an IPv6 address has brackets of its own.
        table.add_row(Text(f"  {part}", "bold"), Text(address), Text(note, "dim"))
    _console.print()
    _console.print(table)
    if next_step:
        _console.print(f"\n  {next_step} Ctrl-C stops everything.\n")
