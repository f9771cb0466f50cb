"""Runs the parts in one process until it is told to stop: what all commands do in the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import uvicorn

from firsthop.addresses import own_address
from firsthop.backends.base import Backend
from firsthop.backends.function import Agent, FunctionBackend
from firsthop.config import ClusterSettings, Settings, load
from firsthop.draining import Draining
from firsthop.errors import ConfigError, FirsthopError
from firsthop.fleet.beat import Beat
from firsthop.fleet.heartbeat import Heartbeat
from firsthop.gateway.service import GatewayService
from firsthop.relay import takeover
from firsthop.relay.service import RelayService
from firsthop.reloading import Reloading, Source
from firsthop.telemetry import logs
from firsthop.telemetry.metrics import Metrics
from firsthop.transceiver.engine import advertised
from firsthop.transceiver.service import TransceiverService
from firsthop.values import KEY_BYTES
from firsthop.webserver import bind_for, explained, http_config, serve_http

if TYPE_CHECKING:
    from firsthop.agent.service import AgentService


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
    reloading = Reloading(_joined(settings), source, relay=True)
    settings = reloading.settings
    metrics = Metrics()
    relay = RelayService(settings, metrics)
    transceiver = TransceiverService(settings, metrics, backend)
    async with AsyncExitStack() as running:
        http = running.enter_context(bind_for("signaling", settings.signaling.listen))
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
        await serve_http(
            transceiver.app(),
            settings.signaling.listen,
            "signaling.listen",
            rows,
            next_step,
            inherited=http,
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

        await serve_http(
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
        await serve_http(
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
            await serve_http(
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
    async with AsyncExitStack() as running:
        http = running.enter_context(bind_for("agent", settings.agent.listen))
        await running.enter_async_context(_ready_agent(agent))
        note = "/v1/realtime by WebSocket, /docs, /metrics"
        rows = [("agent", f"http://{settings.agent.listen}", note)]
        if not settings.agent.api_keys:
            rows.append(("", "no API keys set: serves this machine only", "agent.api_keys"))
        await serve_http(
            agent.app(),
            settings.agent.listen,
            "agent.listen",
            rows,
            "",
            inherited=http,
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
    async with AsyncExitStack() as running:
        bound = running.enter_context(bind_for("agent", settings.agent.listen))
        await running.enter_async_context(_ready_agent(agent))
        server = uvicorn.Server(http_config(agent.app()))
        # Signals are for the server that the process is about.
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
        # Its calls are others than the transceiver's, and their lines stand in the same log.
        with structlog.contextvars.bound_contextvars(part="agent"):
            serving = asyncio.create_task(server.serve(sockets=[bound]))
        try:
            yield
        finally:
            server.should_exit = True
            await serving


def _joined(settings: Settings) -> Settings:
    """Let answers name the relay of this process, and that one forward to its transceiver.

    What settings leave open follows from where the two listen, be it another port than usual.
    Clients that cannot send UDP are served where the others are, unless settings say where.
    """
    relay, transceiver = settings.relay, settings.transceiver
    advertise = transceiver.advertise or _public_addresses(relay.listen)
    transceiver = transceiver.model_copy(update={"advertise": advertise})
    if not relay.tcp_listen:
        advertise_tcp = transceiver.advertise_tcp or advertised(transceiver)
        relay = relay.model_copy(update={"tcp_listen": relay.listen})
        transceiver = transceiver.model_copy(update={"advertise_tcp": advertise_tcp})
    first, usual = int(_port(transceiver.listen)), ClusterSettings()
    last = first + transceiver.shards - 1
    fits = usual.first_port <= first and last <= usual.last_port
    if first != 0 and not fits and relay.clusters == (usual,):
        ports = {"first_port": first, "last_port": last}
        relay = relay.model_copy(update={"clusters": (usual.model_copy(update=ports),)})
    return settings.model_copy(update={"relay": relay, "transceiver": transceiver})


def _public_addresses(listen: tuple[str, ...]) -> tuple[str, ...]:
    """Where clients reach the relay's sockets; nothing if a port is the system's to choose."""
    if any(_port(address) == "0" for address in listen):
        return ()
    everywhere, ours = "0.0.0.0:", f"{own_address()}:"
    return tuple(
        address.replace(everywhere, ours, 1) if address.startswith(everywhere) else address
        for address in listen
        if not address.startswith("[::]:")
    )


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
    with explained("relay"):
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
    with explained("transceiver"):
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


def _port(address: str) -> str:
    return address.rpartition(":")[2]
