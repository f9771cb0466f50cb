"""The network of a world: one process that passes IPv4 packets between namespaces, in time.

It has a TUN device in each, reads packets of any protocol, and writes them where their destination
is when their link says so. It makes the namespaces and, however it ends, removes them: with its
standard input, that is with whoever started it.

It is started by `router_command`, without what `firsthop` imports, so that it runs at once.
"""

from __future__ import annotations

import fcntl
import gc
import heapq
import itertools
import json
import os
import selectors
import signal
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from firsthop.bench.link import Conditions, Link, serve
from firsthop.bench.world import namespaces
from firsthop.bench.world.namespaces import NamespaceError

#: linux/if_tun.h
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN_NO_PI: Final = 0x1001
#: Not `tun0`: browsers keep away from what is called like a VPN.
_INTERFACE: Final = "eth0"
#: What is on its way; more is lost, and counted as full. The kernel holds as many of each place.
_MAX_PACKETS: Final = 50_000
_QUEUE: Final = 2_000
_MAX_PACKET_BYTES: Final = 65_535
_IPV4_HEADER_BYTES: Final = 20
_UDP: Final = 17
#: Packets of one place in a row, before others have their turn.
_BATCH: Final = 32


class _Router:
    """The process: packets between places, each at its time."""

    def __init__(
        self,
        devices: Mapping[str, int],
        addresses: Mapping[str, Sequence[str]],
        links: Mapping[tuple[str, str], Link],
    ) -> None:
        self._devices = devices
        self._links = links
        self._homes = {
            _packed(address): place for place, owned in addresses.items() for address in owned
        }
        self._cut: set[tuple[bytes, bytes]] = set()
        self._way: list[tuple[float, int, int, bytes]] = []
        self._numbers = itertools.count()
        self._counts: Counter[str] = Counter()
        self._events = selectors.DefaultSelector()
        for place, device in devices.items():
            self._events.register(device, selectors.EVENT_READ, self._reader(place, device))
        self._commands: dict[str, Callable[..., object]] = {
            "cut": self._set_cut,
            "mend": self._set_mended,
            "counts": lambda: self._counts,
        }

    def run(self, control: int) -> None:
        """Pass packets and obey lines from `control` until that ends."""
        serve(control, self._events, self._commands, self._due, self._pass_due)

    def _due(self) -> float | None:
        return self._way[0][0] if self._way else None

    def _reader(self, place: str, device: int) -> Callable[[], None]:
        def read() -> None:
            for _ in range(_BATCH):
                try:
                    packet = os.read(device, _MAX_PACKET_BYTES)
                except BlockingIOError:
                    return
                self._take(place, packet)

        return read

    def _take(self, place: str, packet: bytes) -> None:
        if len(packet) < _IPV4_HEADER_BYTES or packet[0] >> 4 != 4:
            self._counts["no IPv4"] += 1
            return
        source, destination = packet[12:16], packet[16:20]
        home = self._homes.get(destination)
        # As networks do at their border, nobody sends in the name of others (BCP 38).
        if home is None or self._homes.get(source) != place:
            self._counts[f"{place} unroutable"] += 1
            return
        pair = f"{place} {home}"
        self._counts[f"{pair} came"] += 1
        if packet[9] == _UDP:
            self._counts[f"{pair} UDP"] += 1
        at = self._links[place, home].leaves(time.monotonic())
        if at is None:
            self._counts[f"{pair} lost"] += 1
        elif len(self._way) >= _MAX_PACKETS:
            self._counts["full"] += 1
        else:
            device = self._devices[home]
            heapq.heappush(self._way, (at, next(self._numbers), device, packet))

    def _pass_due(self, now: float) -> None:
        while self._way and self._way[0][0] <= now:
            due, _, device, packet = heapq.heappop(self._way)
            # What was on its way when the link was cut is lost too.
            if self._cut and (packet[12:16], packet[16:20]) in self._cut:
                self._counts["cut"] += 1
                continue
            try:
                os.write(device, packet)
            except OSError:
                self._counts["refused"] += 1
            else:
                self._counts["passed"] += 1
                late_us = int((now - due) * 1e6)
                self._counts["late, us"] += late_us
                self._counts["latest, us"] = max(self._counts["latest, us"], late_us)

    def _set_cut(self, ones: Sequence[str], others: Sequence[str]) -> None:
        self._cut |= _pairs(ones, others)

    def _set_mended(self, ones: Sequence[str], others: Sequence[str]) -> None:
        self._cut -= _pairs(ones, others)


def _pairs(ones: Sequence[str], others: Sequence[str]) -> set[tuple[bytes, bytes]]:
    pairs = set(itertools.product(map(_packed, ones), map(_packed, others)))
    return pairs | {(to, source) for source, to in pairs}


def _packed(address: str) -> bytes:
    return bytes(map(int, address.split(".")))


def _device(namespace: str, addresses: Sequence[str]) -> int:
    """Make the one interface of a namespace, and return the descriptor of its other side."""
    with namespaces.inside(namespace):
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        asked = struct.pack("16sH22x", _INTERFACE.encode(), _IFF_TUN_NO_PI)
        fcntl.ioctl(device, _TUNSETIFF, asked)
        namespaces.configure(
            [
                "link set lo up",
                # No IPv6: clients would gather a link-local candidate that leads nowhere.
                f"link set {_INTERFACE} addrgenmode none txqueuelen {_QUEUE}",
                *(f"address add {address}/32 dev {_INTERFACE}" for address in addresses),
                f"link set {_INTERFACE} up",
                f"route add default dev {_INTERFACE} src {addresses[0]}",
            ]
        )
    return device


def command() -> list[str]:
    """Return what this process is started with; see `plan` for what it is told first."""
    # The package itself would import all of firsthop, which takes a second.
    start = (
        "import sys, types; sys.modules['firsthop'] = package = types.ModuleType('firsthop'); "
        f"package.__path__ = [{str(Path(__file__).parents[2])!r}]; "
        "from firsthop.bench.world.router import main; main()"
    )
    return [sys.executable, "-I", "-c", start]


def main() -> None:
    """Be the network, as the first line of standard input plans it."""
    plan: dict[str, Any] = json.loads(_line(0))
    owner, places = plan["owner"], plan["places"]
    # A terminal's Ctrl-C is for whoever started this, and then closes its standard input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    names = {place: namespaces.name_of(owner, place) for place in places}
    links = {
        (one, other): Link(Conditions(**conditions), f"{one} {other}")
        for one, other, conditions in plan["links"]
    }
    try:
        namespaces.remove_stale()
        try:
            namespaces.make(names.values())
            devices = {place: _device(names[place], places[place]) for place in places}
        except (NamespaceError, OSError) as error:
            print(json.dumps(str(error)), flush=True)
            return
        # Before all that is measured: it is the network.
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(2))
        router = _Router(devices, places, links)
        gc.collect()
        gc.disable()
        print(json.dumps(None), flush=True)
        router.run(0)
    finally:
        namespaces.remove(owner)


def _line(descriptor: int) -> bytes:
    """Read one line and no more: what follows is for the selector."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(descriptor, 1)):
        line += byte
    return line
