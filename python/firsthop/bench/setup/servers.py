"""The servers that are called: each of programs of its own, and the way to call it."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from firsthop.bench import checkout, programs
from firsthop.bench.contender import free_endpoint
from firsthop.bench.datagrams import Endpoint
from firsthop.bench.impairment import Conditions
from firsthop.bench.impairment import Path as UdpPath
from firsthop.bench.programs import Program
from firsthop.bench.setup.signaling import DelayedWay

DIRECT, RELAYED, SNAP = "firsthop", "firsthop with relay", "firsthop, SNAP"
PION, PION_PASSIVE, AIORTC = "pion", "pion, passive", "aiortc"
#: Chromium offers SNAP when it is told to (draft-hancke-tsvwg-snap).
SNAP_FLAGS: Final = ("--force-fieldtrials=WebRTC-Sctp-Snap/Enabled/",)
_AGENT: Final = "firsthop.bench.setup.greeter:greet"


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    name: str
    http: Endpoint
    door: str
    """The path that offers are sent to."""
    flags: tuple[str, ...] = ()
    """Of the browser that calls it."""


@dataclass(frozen=True)
class Way:
    """The network between a browser and a server."""

    origin: str
    """Where the browser finds the server's HTTP."""
    media: UdpPath
    """Where its packets go."""


Maker = Callable[[str, Path, ExitStack], Sequence[Server]]
"""Starts a server: given where clients reach this machine, and a folder. It is one server as often
as it is called in different ways.

Raises `SkippedError` when something that it needs is not on this machine.
"""


@contextmanager
def way(server: Server, host: str, round_trip_ms: float, *, keep: int = 0) -> Iterator[Way]:
    """Put a server far away.

    Args:
        server: The server.
        host: The address of this machine by which browsers reach it.
        round_trip_ms: How far.
        keep: How many of the packets to keep.
    """
    one_way = Conditions(delay_ms=round_trip_ms / 2)
    front = free_endpoint()
    with (
        # Led to the server's port when an answer tells it.
        UdpPath(f"{host}:9", listen=f"{host}:0", up=one_way, down=one_way, keep=keep) as media,
        DelayedWay(server.http, front, round_trip_ms / 2, media.lead_to),
    ):
        yield Way(f"http://{front}", media)


def direct(host: str, folder: Path, running: ExitStack) -> Sequence[Server]:
    """A transceiver alone."""
    settings, url = programs.edge(host, backend=_AGENT, keys=_keys())
    shard = f"{host}:{free_endpoint().port}"
    settings |= {
        "TRANSCEIVER__LISTEN": shard,
        "TRANSCEIVER__ADVERTISE": [shard],
        "TRANSCEIVER__DIRECT": "true",
    }
    _firsthop("transceiver", f"{url}/readyz", settings, folder / "direct", running)
    http, door = _endpoint(url), "/v1/realtime/calls"
    return [Server(DIRECT, http, door), Server(SNAP, http, door, SNAP_FLAGS)]


def relayed(host: str, folder: Path, running: ExitStack) -> Sequence[Server]:
    """A relay and a transceiver."""
    settings, url = programs.edge(host, backend=_AGENT, keys=_keys())
    health = f"http://{settings['RELAY__HEALTH_LISTEN']}/readyz"
    _firsthop("relay", health, settings, folder / "relayed", running)
    _firsthop("transceiver", f"{url}/readyz", settings, folder / "relayed", running)
    return [Server(RELAYED, _endpoint(url), "/v1/realtime/calls")]


def aiortc(host: str, folder: Path, running: ExitStack) -> Sequence[Server]:
    """See ``bench/peers/media-aiortc.py``."""
    http = free_endpoint()
    peer = checkout.SOURCES / "peers/media-aiortc.py"
    command = [sys.executable, str(peer), str(http)]
    return [_peer(AIORTC, http, command, folder, running)]


def pion(host: str, folder: Path, running: ExitStack) -> Sequence[Server]:
    """See ``bench/peers/media-pion``, with its default role in DTLS: active."""
    return [_pion(PION, "active", host, folder, running)]


def pion_passive(host: str, folder: Path, running: ExitStack) -> Sequence[Server]:
    """The same, waiting for the client's DTLS as firsthop does."""
    return [_pion(PION_PASSIVE, "passive", host, folder, running)]


MAKERS: Final[tuple[Maker, ...]] = (direct, relayed, pion, pion_passive, aiortc)


def _firsthop(
    name: str, ready: str, settings: dict[str, object], folder: Path, running: ExitStack
) -> None:
    folder.mkdir(exist_ok=True)
    program = programs.firsthop(name, settings, folder)
    running.callback(program.stop)
    program.wait_until_ready(ready)


def _pion(name: str, role: str, host: str, folder: Path, running: ExitStack) -> Server:
    program = checkout.build_go("peers/media-pion", "media-pion")
    http = free_endpoint()
    listen = f"{host}:{free_endpoint().port}"
    command = [
        str(program),
        "--listen",
        listen,
        "--http",
        str(http),
        "--mode",
        "pass",
        "--role",
        role,
    ]
    return _peer(name, http, command, folder, running)


def _peer(
    name: str,
    http: Endpoint,
    command: Sequence[str],
    folder: Path,
    running: ExitStack,
) -> Server:
    program = Program(name, command, os.environ, folder)
    running.callback(program.stop)
    program.wait_until_ready(f"http://{http}/readyz")
    return Server(name, http, "/whip")


def _endpoint(url: str) -> Endpoint:
    return Endpoint.parse(url.removeprefix("http://"))


def _keys() -> dict[str, str]:
    return {"0": secrets.token_hex(32)}
