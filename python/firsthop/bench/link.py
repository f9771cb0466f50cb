"""A UDP path that delays, loses and reorders: its arithmetic, and the process that is one.

Run as a script by `impairment.Path`. It imports nothing of ours, so that it starts at once.
"""

from __future__ import annotations

import heapq
import itertools
import json
import math
import os
import random
import select
import selectors
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Literal

#: What is on its way, and the clients; more are lost, and counted as full.
_MAX_PACKETS = 50_000
_MAX_CLIENTS = 2_000
_MAX_DATAGRAM_BYTES = 65_535
_RECEIVE_BUFFER_BYTES = 4 << 20
_CONTROL_BYTES = 65_536
#: How much later a reordered packet leaves: one to three of 20 ms audio pass it.
_REORDERED_MS = (25.0, 65.0)

Address = tuple[str, int]
Way = Literal["up", "down"]


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a path does to the packets of one direction.

    Raises:
        ValueError: A figure is out of its range.
    """

    delay_ms: float = 0.0
    """What each packet takes."""
    jitter_ms: float = 0.0
    """Standard deviation, and mean, of what it takes in addition (exponentially distributed)."""
    loss: float = 0.0
    """Part of packets that are lost, in [0, 1]."""
    burst: float = 1.0
    """Mean number of packets lost in a row (Gilbert's model). Up to 1 / (1 - loss), where losses
    are independent, it says nothing."""
    reorder: float = 0.0
    """Part of packets, in [0, 1], that leave 25 to 65 ms later than they would, and that others
    pass. All others leave in the order in which they came."""
    seed: int = 0
    """Of everything that is drawn: the n-th packet of a client meets the same fate each time."""

    def __post_init__(self) -> None:
        for name in ("delay_ms", "jitter_ms", "burst"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be a finite number, 0 or more")
        for name in ("loss", "reorder"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be within 0 and 1")


class Link:
    """One direction of one client's path: when each of its packets leaves.

    Args:
        conditions: What it does to packets.
        name: Sets its chances apart from those of other links with the same seed.
    """

    def __init__(self, conditions: Conditions, name: str = "") -> None:
        self._conditions = conditions
        self._chance = random.Random(f"{conditions.seed} {name}")
        self._losing = False
        self._latest_s = -math.inf

    def leaves(self, now_s: float) -> float | None:
        """Return when a packet that comes `now_s` leaves, in seconds; None if it is lost."""
        conditions = self._conditions
        # Always as many draws: what happens to a packet does not depend on the others' fate.
        lose, late, jitter, later = (self._chance.random() for _ in range(4))
        self._losing = lose < self._loss()
        if self._losing:
            return None
        added_ms = conditions.delay_ms - conditions.jitter_ms * math.log(1 - jitter)
        at_s = now_s + added_ms / 1000
        if late < conditions.reorder:
            least, most = _REORDERED_MS
            return max(at_s, self._latest_s) + (least + (most - least) * later) / 1000
        self._latest_s = max(at_s, self._latest_s)
        return self._latest_s

    def _loss(self) -> float:
        """Return how probable it is that the next packet is lost, given the one before."""
        loss = self._conditions.loss
        if loss == 1:
            return 1
        # Gilbert's model: a burst goes on with 1 - 1/length, and begins as often as `loss` needs.
        length = max(self._conditions.burst, 1 / (1 - loss))
        return 1 - 1 / length if self._losing else min(1, loss / ((1 - loss) * length))


def serve(
    control: int,
    events: selectors.DefaultSelector,
    commands: Mapping[str, Callable[..., object]],
    due: Callable[[], float | None],
    pass_due: Callable[[float], None],
) -> None:
    """Be a network until `control` ends.

    Args:
        control: A descriptor with lines of JSON, each a command and what it is given; what it
            returns is printed, as a line of JSON too.
        events: What packets come from; the data of each is called when there are some.
        commands: By name.
        due: Says when the next packet leaves, by `time.monotonic`; None: none is on its way.
        pass_due: Passes what is due.
    """
    ended = False
    text = b""

    def obey() -> None:
        nonlocal ended, text
        piece = os.read(control, _CONTROL_BYTES)
        ended = not piece
        *lines, text = (text + piece).split(b"\n")
        for line in lines:
            command, given = json.loads(line)
            print(json.dumps(commands[command](*given)), flush=True)

    events.register(control, selectors.EVENT_READ, obey)
    while not ended:
        at = due()
        wait = None if at is None else max(0.0, at - time.monotonic())
        # The selector alone would round its timeout up to whole milliseconds.
        select.select([events], [], [], wait)
        for key, _ in events.select(0):
            key.data()
        pass_due(time.monotonic())


class _Client:
    """A client of the path, and the socket by which the server knows it."""

    def __init__(
        self,
        address: Address,
        number: int,
        upstream: socket.socket,
        up: Conditions,
        down: Conditions,
    ) -> None:
        self.address = address
        self.upstream = upstream
        self.links: dict[Way, Link] = {
            "up": Link(up, f"up {number}"),
            "down": Link(down, f"down {number}"),
        }


class _Path:
    """The process: clients' packets to the server and back, each at its time."""

    def __init__(
        self, server: Address, listen: Address, up: Conditions, down: Conditions, keep: int
    ) -> None:
        self._server = server
        self._up, self._down = up, down
        self._public = _bound(listen)
        self._clients: dict[Address, _Client] = {}
        self._way: list[tuple[float, int, Way, _Client, bytes]] = []
        self._numbers = itertools.count()
        self._counts: Counter[str] = Counter()
        self._cut = False
        self._kept: list[tuple[float, Way, str]] = []
        self._keep = keep
        self._left_behind: list[socket.socket] = []
        self._events = selectors.DefaultSelector()
        self._events.register(self._public, selectors.EVENT_READ, self._from_clients)
        self._commands: dict[str, Callable[..., object]] = {
            "admit": self._admit,
            "lead_to": self._lead_to,
            "change_port": self._change_port,
            "cut": self._set_cut,
            "mend": self._set_mended,
            "counts": lambda: self._counts,
            "packets": lambda: self._kept,
        }

    @property
    def address(self) -> Address:
        """Where clients reach it; the server sees them at other ports of it."""
        host, port = self._public.getsockname()[:2]
        return host, port

    def run(self, control: int) -> None:
        """Pass packets and obey lines from `control` until that ends."""
        serve(control, self._events, self._commands, self._due, self._pass_due)

    def _due(self) -> float | None:
        return self._way[0][0] if self._way else None

    def _from_clients(self) -> None:
        for data, address in _received(self._public):
            client = self._clients.get(address) or self._new(address)
            if client is None:
                self._counts["up full"] += 1
            else:
                self._take("up", client, data)

    def _new(self, address: Address) -> _Client | None:
        if len(self._clients) >= _MAX_CLIENTS:
            return None
        client = _Client(address, len(self._clients), self._upstream(), self._up, self._down)
        self._listen_to_server(client)
        self._clients[address] = client
        return client

    def _upstream(self) -> socket.socket:
        return _bound((self.address[0], 0))

    def _listen_to_server(self, client: _Client) -> None:
        upstream = client.upstream

        def from_server() -> None:
            for data, _ in _received(upstream):
                self._take("down", client, data)

        self._events.register(upstream, selectors.EVENT_READ, from_server)

    def _take(self, way: Way, client: _Client, data: bytes) -> None:
        now = time.monotonic()
        self._counts[f"{way} came"] += 1
        if len(self._kept) < self._keep:
            self._kept.append((now, way, data.hex()))
        at = client.links[way].leaves(now)
        if at is None or self._cut:
            self._counts[f"{way} lost"] += 1
        elif len(self._way) >= _MAX_PACKETS:
            self._counts[f"{way} full"] += 1
        else:
            heapq.heappush(self._way, (at, next(self._numbers), way, client, data))

    def _pass_due(self, now: float) -> None:
        while self._way and self._way[0][0] <= now:
            _, _, way, client, data = heapq.heappop(self._way)
            # An end that is gone, or that takes no more, is loss as on any path.
            try:
                if way == "up":
                    client.upstream.sendto(data, self._server)
                else:
                    self._public.sendto(data, client.address)
            except OSError:
                self._counts[f"{way} refused"] += 1
            else:
                self._counts[f"{way} passed"] += 1

    def _lead_to(self, address: str, port: int) -> None:
        self._server = (address, port)

    def _admit(self, address: str, port: int) -> Address | None:
        client = self._clients.get((address, port)) or self._new((address, port))
        return None if client is None else client.upstream.getsockname()[:2]

    def _change_port(self) -> None:
        for client in self._clients.values():
            self._events.unregister(client.upstream)
            # Left open, and unread: a NAT is silent about what comes to a port of the past.
            self._left_behind.append(client.upstream)
            client.upstream = self._upstream()
            self._listen_to_server(client)

    def _set_cut(self) -> None:
        self._cut = True
        for _, _, way, _, _ in self._way:
            self._counts[f"{way} lost"] += 1
        self._way.clear()

    def _set_mended(self) -> None:
        self._cut = False


def _bound(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_DGRAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
    bound.setblocking(False)
    bound.bind(address)
    return bound


def _received(source: socket.socket) -> Iterator[tuple[bytes, Address]]:
    """Yield what lies in a socket's buffer."""
    while True:
        try:
            data, address = source.recvfrom(_MAX_DATAGRAM_BYTES)
        except BlockingIOError:
            return
        yield data, address[:2]


def arguments(
    server: Address, listen: Address, up: Conditions, down: Conditions, keep: int
) -> list[str]:
    """Return what this script is run with."""
    return [json.dumps([server, listen, asdict(up), asdict(down), keep])]


def _main(given: Sequence[str]) -> None:
    server, listen, up, down, keep = json.loads(given[0])
    # Before all that is measured: it is the network. Takes root.
    with suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(2))
    path = _Path(tuple(server), tuple(listen), Conditions(**up), Conditions(**down), keep)
    print(json.dumps(path.address), flush=True)
    path.run(sys.stdin.fileno())


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        _main(sys.argv[1:])
