"""Stand-ins for clients and for their transceiver, with the clocks of real ones.

One thread of one process of its own plays all of them, so that nothing else holds it up:

- each client sends a packet of media every 20 ms and a binding request every 2.5 s, as libwebrtc
  does, its phases evenly spread;
- the transceiver answers binding requests, and to every second client it talks: a packet every
  20 ms, to the relay from which that client's latest packet came. The others have a silent agent;
- newcomers, while asked for: clients that are not known yet, half of them with a binding request.
  They keep a relay's flow cache busy.

Packets carry the time at which the kernel took them in, not that at which we got around to look.
"""

from __future__ import annotations

import gc
import heapq
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from firsthop._native import seal_hop_header, seal_token
from firsthop.bench.datagrams import Endpoint
from firsthop.bench.recovery import packets
from firsthop.bench.recovery.packets import PACING_NS
from firsthop.bench.trace import MAX_CLIENTS, client_address

CLUSTER = 1
CHECK_NS = 2_500_000_000
"""libwebrtc checks a pair that works this often."""

_SLOT_SECONDS = 900
_TICK_SECONDS = 16
_CONFIRM_AND_PATH = 3
_HOP_LIMIT = 3
#: asm-generic/socket.h; Python has no name for it.
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("qq")
_RECEIVE_BYTES = 4 << 20


@dataclass(frozen=True)
class Plan:
    """Who calls whom, and through which relay at first."""

    calls: int
    secret: bytes
    """Of tokens and of hop headers, under id 0."""
    owner: Endpoint
    client_port: int
    relay: Endpoint


@dataclass
class Log:
    """Packets of media since `watch`: (call, number, Unix time in ns)."""

    up_sent: list[tuple[int, int, int]] = field(default_factory=list)
    up_seen: list[tuple[int, int, int]] = field(default_factory=list)
    down_sent: list[tuple[int, int, int]] = field(default_factory=list)
    down_seen: list[tuple[int, int, int]] = field(default_factory=list)
    late_ns: int = 0
    """How late the stand-ins themselves were at worst: the machine's doing, and no relay's."""


def talks(call: int) -> bool:
    """Whether the agent of this call talks all the time."""
    return call % 2 == 0


@dataclass(frozen=True)
class _Path:
    """How the transceiver reaches a client."""

    relay: tuple[str, int]
    client: bytes
    port: int
    ingress: int


class Standins:
    """All clients and their transceiver.

    Args:
        plan: Who they are.
        control: Takes (name, arguments) of one of the public methods, and gives its result.
    """

    def __init__(self, plan: Plan, control: Connection) -> None:
        self._plan = plan
        self._control = control
        self._clients = _socket("0.0.0.0", plan.client_port)
        self._owner = _socket(_ip(plan.owner.ip), plan.owner.port)
        self._relay = _address(plan.relay)
        self._log = Log()
        self._clients_at = [client_address(call) for call in range(plan.calls)]
        self._calls = {address: call for call, address in enumerate(self._clients_at)}
        self._up_next = [0] * plan.calls
        self._down_next = [0] * plan.calls
        self._paths: list[_Path | None] = [None] * plan.calls
        self._headers: dict[tuple[bytes, int, int], tuple[int, bytes]] = {}
        self._ufrag = seal_token(
            master=plan.secret,
            key_id=0,
            cluster=CLUSTER,
            address=_ip(plan.owner.ip),
            port=plan.owner.port,
            expiry_slot=(int(time.time()) // _SLOT_SECONDS + 4) % 256,
            nonce=bytes(6),
        )
        self._requests = 0
        self._newcomers = 0
        self._newcomer_ns = 0
        self._over = False
        self._due: list[tuple[int, int, Callable[[int], int], int]] = []
        start = time.monotonic_ns()
        for call in range(plan.calls):
            phase = (call + 0.5) / plan.calls
            self._plan_at(start + int(phase * PACING_NS), self._say, call)
            self._plan_at(start + int(phase * CHECK_NS), self._check, call)
            if talks(call):
                self._plan_at(start + int(phase * PACING_NS), self._answer, call)

    def serve(self) -> None:
        """Play until `end`."""
        sources: list[socket.socket | Connection] = [self._owner, self._clients, self._control]
        while not self._over:
            now = time.monotonic_ns()
            while self._due[0][0] <= now:
                due, _, act, call = heapq.heappop(self._due)
                self._log.late_ns = max(self._log.late_ns, now - due)
                period = act(call)
                if period:
                    self._plan_at(due + period, act, call)
            wait = max(0, self._due[0][0] - time.monotonic_ns()) / 1e9
            ready, _, _ = select.select(sources, [], [], wait)
            if self._owner in ready:
                self._take_up()
            if self._clients in ready:
                self._take_down()
            if self._control in ready:
                name, arguments = self._control.recv()
                self._control.send(getattr(self, name)(*arguments))

    def greet(self, relay: Endpoint) -> None:
        """From now on use this relay, and check the path to it at once."""
        self.move(relay)
        for call in range(self._plan.calls):
            self._check(call)

    def move(self, relay: Endpoint) -> None:
        """From now on use this relay, without a word: the network sends packets elsewhere."""
        self._relay = _address(relay)

    def newcomers(self, per_second: int) -> None:
        """Have so many newcomers; 0 for none."""
        had, self._newcomer_ns = self._newcomer_ns, 10**9 // per_second if per_second else 0
        if self._newcomer_ns and not had:
            self._plan_at(time.monotonic_ns(), self._come, 0)

    def watch(self) -> None:
        """Begin a new log."""
        self._log = Log()

    def report(self) -> Log:
        """Return the log."""
        return self._log

    def end(self) -> None:
        """Stop."""
        self._over = True

    def _plan_at(self, due: int, act: Callable[[int], int], call: int) -> None:
        heapq.heappush(self._due, (due, id(act), act, call))

    def _say(self, call: int) -> int:
        number = self._up_next[call]
        self._up_next[call] += 1
        self._log.up_sent.append((call, number, time.time_ns()))
        self._send(self._clients_at[call], packets.media(call, number))
        return PACING_NS

    def _check(self, call: int) -> int:
        self._send(self._clients_at[call], self._request())
        return CHECK_NS

    def _come(self, _: int) -> int:
        self._newcomers += 1
        address = client_address(MAX_CLIENTS - self._newcomers)
        packet = self._request() if self._newcomers % 2 else packets.media(0xFFFF, 0)
        self._send(address, packet)
        return self._newcomer_ns

    def _answer(self, call: int) -> int:
        path = self._paths[call]
        if path is not None:
            number = self._down_next[call]
            self._down_next[call] += 1
            self._log.down_sent.append((call, number, time.time_ns()))
            self._send_down(path, packets.media(call, number))
        return PACING_NS

    def _send(self, source: bytes, packet: bytes) -> None:
        self._clients.sendmsg([packet], [packets.source(source)], 0, self._relay)

    def _send_down(self, path: _Path, packet: bytes) -> None:
        record = packets.with_payload(self._header(path), packet)
        self._owner.sendto(record, path.relay)

    def _request(self) -> bytes:
        self._requests += 1
        return packets.binding_request(self._ufrag, self._requests.to_bytes(12, "big"))

    def _header(self, path: _Path) -> bytes:
        now = int(time.time()) // _TICK_SECONDS
        key = path.client, path.port, path.ingress
        tick, header = self._headers.get(key, (0, b""))
        if tick != now:
            header = seal_hop_header(
                secret=self._plan.secret,
                key_id=0,
                owner=str(self._plan.owner),
                direction="down",
                flags=_CONFIRM_AND_PATH,
                hop_limit=_HOP_LIMIT,
                tick=now % 2**16,
                client=f"{_ip(path.client)}:{path.port}",
                ingress=path.ingress,
                return_hop=None,
            )
            self._headers[key] = now, header
        return header

    def _take_up(self) -> None:
        for datagram, relay, taken in _received(self._owner):
            for record in packets.records(datagram):
                path = _Path(relay, record.client, record.port, record.ingress)
                call = self._calls.get(record.client)
                if call is not None:
                    self._paths[call] = path
                answer = packets.binding_answer(record.payload)
                if answer is not None:
                    self._send_down(path, answer)
                elif (which := packets.which_media(record.payload)) is not None:
                    self._log.up_seen.append((*which, taken))

    def _take_down(self) -> None:
        for datagram, _, taken in _received(self._clients):
            which = packets.which_media(datagram)
            if which is not None:
                self._log.down_seen.append((*which, taken))


def _socket(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
    bound.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    bound.bind((host, port))
    return bound


def _received(bound: socket.socket) -> Iterator[tuple[bytes, tuple[str, int], int]]:
    """Yield all that waits: datagram, sender, Unix time in ns at which the kernel took it."""
    while True:
        try:
            datagram, ancillary, _, sender = bound.recvmsg(65_535, 64, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        taken = time.time_ns()
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
                seconds, nanoseconds = _TIMESPEC.unpack(payload)
                taken = seconds * 10**9 + nanoseconds
        yield datagram, sender, taken


def _ip(address: bytes) -> str:
    return socket.inet_ntoa(address)


def _address(endpoint: Endpoint) -> tuple[str, int]:
    return _ip(endpoint.ip), endpoint.port


def main() -> None:
    """Play the stand-ins that the plan tells; plan and commands come by a descriptor."""
    with Connection(int(sys.argv[1])) as control:
        standins = Standins(control.recv(), control)
        # Nothing here makes cycles, and a collection would show as a gap.
        gc.collect()
        gc.disable()
        standins.serve()
