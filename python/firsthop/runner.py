"""Runs the parts in one process until it is told to stop: what all commands do in the end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI
from rich.console import Console
from rich.table import Table
from rich.text import Text

from firsthop.backends.base import Backend
from firsthop.backends.function import Agent, FunctionBackend
from firsthop.config import ENVIRONMENT_PREFIX, Settings, load
from firsthop.draining import ClosesConnections, Draining
from firsthop.errors import ConfigError, FirsthopError
from firsthop.fleet.beat import Beat
from firsthop.fleet.heartbeat import Heartbeat
from firsthop.gateway.service import GatewayService
from firsthop.relay import takeover
from firsthop.relay.service import RelayService
from firsthop.reloading import Reloading, Source
from firsthop.signaling.connection import WebSocketConnection
from firsthop.signaling.socketend import MAX_AUDIO_MESSAGE
from firsthop.telemetry import logs
from firsthop.telemetry.metrics import Metrics
from firsthop.transceiver.engine import advertised
from firsthop.transceiver.service import TransceiverService
from firsthop.values import KEY_BYTES

if TYPE_CHECKING:
    from firsthop.agent.service import AgentService

_console = Console(highlight=False)


class StartError(FirsthopError):
    """A part could not start; the message says what to do about it."""


def run(agent: Agent, settings: Settings | None = None) -> None:
    """Answer calls with `agent`, on this machine, until Ctrl-C.

    Starts what `firsthop dev` starts: a relay, a transceiver and the demo page.

    Raises:
        SystemExit: Something stands in the way; a line on stderr says what to do about it.
    """
    try:
        settings = settings if settings is not None else load((), os.environ)
        logs.configure(settings.log_format)
        name = f"{agent.__module__}:{getattr(agent, '__qualname__', 'agent')}"
        settings = settings.model_copy(update={"backend": name})
        asyncio.run(serve_dev(settings, FunctionBackend(agent)))
    except FirsthopError as error:
        # The last line of a script calls this: its user wants the message, not our call stack.
        raise SystemExit(f"firsthop: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None


async def serve_dev(
    settings: Settings, backend: Backend | None = None, *, source: Source | None = None
) -> None:
    """Run relay and transceiver, with keys of their own unless some are set.

    Args:
        settings: All settings.
        backend: Who answers; by default, whom the settings name.
        source: Where the settings come from, if they may change meanwhile.
    """
    if not settings.keys:
        keys = {settings.key_id: secrets.token_hex(KEY_BYTES)}
        settings = settings.model_copy(update={"keys": keys})
    reloading = Reloading(_with_tcp(settings), source, relay=True)
    settings = reloading.settings
    metrics = Metrics()
    relay = RelayService(settings, metrics)
    transceiver = TransceiverService(settings, metrics, backend)
    async with AsyncExitStack() as running:
        rows = [("agent", f"ws://{settings.agent.listen}/v1/realtime", "internal")]
        if backend is None and settings.backend == "realtime" and settings.realtime.url is None:
            await running.enter_async_context(_running_agent(settings))
        else:
            rows.clear()
        await running.enter_async_context(_running_relay(relay))
        await running.enter_async_context(_running_transceiver(transceiver))
        await running.enter_async_context(_reporting(reloading, relay.beat, relay.apply))
        await running.enter_async_context(
            _reporting(reloading, transceiver.beat, transceiver.apply)
        )
        await running.enter_async_context(_watched(reloading))
        rows = [
            *_public(relay),
            ("transceiver", f"udp {', '.join(transceiver.listening)}", "internal"),
            *rows,
            *_signaling(settings),
        ]
        next_step = f"Open http://localhost:{_port(settings.signaling.listen)} and talk."
        await _serve_http(
            transceiver.app(), settings.signaling.listen, "signaling.listen", rows, next_step
        )


async def serve_relay(
    settings: Settings, *, source: Source | None = None, take_over: bool = False
) -> None:
    """Run a relay, with health and metrics over HTTP; end when another one takes its place.

    Args:
        settings: All settings.
        source: Where they come from, if they may change meanwhile.
        take_over: Start in the place of the relay that listens at `relay.takeover_socket`, if
            there is one.

    Raises:
        ConfigError: A setting is missing.
        StartError: A part could not start.
        TakeoverError: The relay to take over from failed; it goes on.
    """
    path = settings.relay.takeover_socket
    if take_over and path is None:
        raise ConfigError("relay.takeover_socket", "both relays need it to hand over; set a path")
    reloading = Reloading(settings, source, relay=True)
    metrics = Metrics()
    relay = RelayService(reloading.settings, metrics)
    async with (
        _running_relay(relay, Path(path) if take_over and path else None) as inherited,
        _reporting(reloading, relay.beat, relay.apply),
        _watched(reloading),
    ):
        rows = [
            *_public(relay),
            ("upstream", f"udp {', '.join(relay.upstream)}", "from transceivers"),
            ("health", f"http://{settings.relay.health_listen}", "/healthz, /readyz, /metrics"),
        ]

        async def until_taken_over(http: socket.socket) -> None:
            if path is None:
                await asyncio.Event().wait()
            else:
                await relay.give_place(Path(path), http)

        await _serve_http(
            relay.app(),
            settings.relay.health_listen,
            "relay.health_listen",
            rows,
            "",
            inherited=inherited,
            until=until_taken_over,
            draining=Draining("relay", relay, settings.relay.drain_seconds, metrics),
        )


async def serve_transceiver(settings: Settings, *, source: Source | None = None) -> None:
    """Run a transceiver, with signaling over HTTP.

    Args:
        settings: All settings.
        source: Where they come from, if they may change meanwhile.
    """
    reloading = Reloading(settings, source)
    metrics = Metrics()
    transceiver = TransceiverService(settings, metrics)
    async with (
        _running_transceiver(transceiver),
        _reporting(reloading, transceiver.beat, transceiver.apply),
        _watched(reloading),
    ):
        rows = [
            ("transceiver", f"udp {', '.join(transceiver.listening)}", "from relays"),
            *_signaling(settings),
        ]
        seconds = settings.transceiver.drain_seconds
        await _serve_http(
            transceiver.app(),
            settings.signaling.listen,
            "signaling.listen",
            rows,
            "",
            draining=Draining("transceiver", transceiver, seconds, metrics),
        )


async def serve_gateway(settings: Settings, *, source: Source | None = None) -> None:
    """Run a gateway.

    Args:
        settings: All settings.
        source: Where they come from, if they may change meanwhile.

    Raises:
        ConfigError: There is no fleet file, or a setting or the file is wrong.
        StartError: It could not start.
    """
    reloading = Reloading(settings, source)
    metrics = Metrics()
    gateway = GatewayService(settings, metrics)
    reloading.tell(gateway.apply)
    gateway.start()
    try:
        async with _watched(reloading):
            rows = [("gateway", f"http://{settings.gateway.listen}", "/healthz, /readyz, /metrics")]
            await _serve_http(
                gateway.app(),
                settings.gateway.listen,
                "gateway.listen",
                rows,
                "",
                draining=Draining("gateway", gateway, settings.gateway.drain_seconds, metrics),
            )
    finally:
        await gateway.stop()


async def serve_agent(settings: Settings) -> None:
    """Run an agent service."""
    # Other parts start without the packages that only this one needs.
    from firsthop.agent.service import AgentService

    metrics = Metrics()
    agent = AgentService(settings, metrics)
    async with _ready_agent(agent):
        note = "/v1/realtime by WebSocket, /docs, /metrics"
        rows = [("agent", f"http://{settings.agent.listen}", note)]
        if not settings.agent.api_keys:
            rows.append(("", "no API keys set: serves this machine only", "agent.api_keys"))
        await _serve_http(
            agent.app(),
            settings.agent.listen,
            "agent.listen",
            rows,
            "",
            draining=Draining("agent", agent, settings.agent.drain_seconds, metrics),
        )


@asynccontextmanager
async def _ready_agent(agent: AgentService) -> AsyncIterator[None]:
    try:
        await agent.prepare()
        yield
    finally:
        await agent.stop()


@asynccontextmanager
async def _running_agent(settings: Settings) -> AsyncIterator[None]:
    """Run an agent service beside the other parts, with metrics of its own."""
    from firsthop.agent.service import AgentService

    agent = AgentService(settings, Metrics())
    async with _ready_agent(agent):
        host, _, port = settings.agent.listen.rpartition(":")
        with _explained("agent"):
            bound = _bind("listen", host.strip("[]"), int(port))
        server = uvicorn.Server(http_config(agent.app()))
        # Signals are for the server that the process is about.
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
        serving = asyncio.create_task(server.serve(sockets=[bound]))
        try:
            yield
        finally:
            server.should_exit = True
            await serving


def _with_tcp(settings: Settings) -> Settings:
    """Serve clients that cannot send UDP where the others are served, unless settings say where."""
    relay, transceiver = settings.relay, settings.transceiver
    if relay.tcp_listen:
        return settings
    relay = relay.model_copy(update={"tcp_listen": relay.listen})
    advertise_tcp = transceiver.advertise_tcp or advertised(transceiver)
    transceiver = transceiver.model_copy(update={"advertise_tcp": advertise_tcp})
    return settings.model_copy(update={"relay": relay, "transceiver": transceiver})


def _public(relay: RelayService) -> list[tuple[str, str, str]]:
    """Where clients reach a relay, for the announcement."""
    rows = [("relay", f"udp {', '.join(relay.listening)}", "public")]
    if relay.listening_tcp:
        tcp = f"tcp {', '.join(relay.listening_tcp)}"
        rows.append(("", tcp, "public, for clients without UDP"))
    return rows


def _signaling(settings: Settings) -> list[tuple[str, str, str]]:
    """Where HTTP is served and to whom, for the announcement."""
    rows = [("signaling", f"http://{settings.signaling.listen}", "/docs, /metrics")]
    if not settings.signaling.api_keys:
        rows.append(("", "no API keys set: serves this machine only", "signaling.api_keys"))
    return rows


@asynccontextmanager
async def _running_relay(
    relay: RelayService, predecessor: Path | None = None
) -> AsyncIterator[socket.socket | None]:
    """Run a relay, in the place of one that listens at `predecessor`; yields its HTTP socket."""
    _allow_descriptors()
    inherited = None
    with _explained("relay"):
        connection = takeover.connect(predecessor) if predecessor else None
        if connection is None:
            relay.start()
        else:
            with connection:
                inherited = await relay.take_over(connection)
    try:
        yield inherited
    finally:
        await relay.stop()


@asynccontextmanager
async def _running_transceiver(transceiver: TransceiverService) -> AsyncIterator[None]:
    await transceiver.prepare()
    with _explained("transceiver"):
        transceiver.start()
    try:
        yield
    finally:
        await transceiver.stop()


@asynccontextmanager
async def _reporting(
    reloading: Reloading, report: Callable[[], Beat], apply: Callable[[Settings], None]
) -> AsyncIterator[None]:
    """Tell the fleet how a part does, and the part when its settings change."""
    heartbeat = Heartbeat(reloading.settings, report)
    reloading.tell(apply)
    reloading.tell(heartbeat.use)
    heartbeat.start()
    try:
        yield
    finally:
        await heartbeat.stop()


@asynccontextmanager
async def _watched(reloading: Reloading) -> AsyncIterator[None]:
    """Look after the files that settings come from."""
    reloading.start()
    try:
        yield
    finally:
        await reloading.stop()


def _allow_descriptors() -> None:
    """Take as many descriptors as we may have: every TCP connection needs one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # Some systems say more than they allow.
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextlib.contextmanager
def _explained(section: str) -> Iterator[None]:
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


async def _serve_http(
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
        inherited: A listening socket of another process; used if it is at `address`.
        until: Given the listening socket; ends the server when it returns.
        draining: Done at the first SIGTERM; then the server ends. A second one does not wait.
    """
    host, _, port = address.rpartition(":")
    # Bound here, so that a port that is taken is our error and not uvicorn's exit.
    section, _, name = setting.partition(".")
    bound = _inherit(inherited, host.strip("[]"), int(port))
    with _explained(section):
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
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError), _explained(section):
            await task


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
        try:
            yield
        finally:
            if self._ending is not None:
                self._ending.cancel()

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


def _port(address: str) -> str:
    return address.rpartition(":")[2]
