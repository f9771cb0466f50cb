"""A phone, and the NATs between it and the tests' own network.

`Phone` is a network namespace for clients, which is in a WLAN and in a mobile network. Either leads
to a router, another namespace, which gives what comes from it a public address: nftables and
conntrack do that, as they do at home and at carriers. From there a cable leads to the network of
`network.enter`, where all servers are.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from e2e.network import HOST, LOOPBACK
from firsthop.bench.rollout.network import missing as missing
from firsthop.bench.world import namespaces
from firsthop.bench.world.namespaces import NamespaceError


@dataclass(frozen=True)
class Access:
    """A network that the phone is in."""

    device: str
    """The interface by which it is."""
    address: str
    """The phone's own."""
    gateway: str
    public: str
    """What its NAT makes of that at first (RFC 5737)."""
    metric: int
    """The phone sends by the network with the lowest, if it has no reason to do otherwise."""


WLAN: Final = Access("wlan0", "192.168.7.2", "192.168.7.1", "198.51.100.1", 100)
MOBILE: Final = Access("rmnet0", "10.40.0.2", "10.40.0.1", "203.0.113.1", 200)
#: What NATs may change to.
OTHER_PUBLIC: Final = "198.51.100.2"
PUBLIC: Final = (WLAN.public, MOBILE.public, OTHER_PUBLIC)

_UPLINK: Final = "uplink"
_PORTS: Final = 1_000
_RULES: Final = """
table ip nat
delete table ip nat
table ip nat {{
    chain out {{
        type nat hook postrouting priority srcnat
        {snat}
    }}
    chain in {{
        type filter hook input priority filter
        iifname {uplink} drop
    }}
    chain through {{
        type filter hook forward priority filter
    }}
}}
"""
#: What leaves by an interface is seen by those only who want to see everything.
_EVERYTHING: Final = 3
_IPV4: Final = b"\x08\x00"
_UDP: Final = 17
_ETHERNET_BYTES: Final = 14


class Phone:
    """The namespaces. A context manager; leaving ends all that runs in them.

    Raises:
        NamespaceError: They cannot be made.
    """

    def __enter__(self) -> Self:
        namespaces.remove_stale()
        self._ports = range(20_000, 20_000)
        self._mappings: dict[Access, str] = {}
        try:
            self._make()
            for access in (WLAN, MOBILE):
                self.map(access, access.public)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it: what runs in it is killed."""
        # The kernel takes a namespace down when it finds the time; this end of the cable is ours.
        with contextlib.suppress(NamespaceError):
            namespaces.configure([f"link delete {_UPLINK}"])
        namespaces.remove_named([_name("phone"), _name("router")])

    def program(self, program: str, folder: Path) -> Path:
        """Return a program that is `program` on the phone, for those who start it by its path."""
        script = folder / f"{Path(program).name}-on-the-phone"
        within = " ".join(namespaces.exec_in(_name("phone")))
        script.write_text(f'#!/bin/sh\nexec {within} {program} "$@"\n')
        script.chmod(0o755)
        return script

    @asynccontextmanager
    async def reaching(self, port: int) -> AsyncIterator[None]:
        """Have a TCP port of the tests' localhost be one of the phone's too.

        Pages that come from localhost are granted a microphone, and what they ask is answered
        whatever becomes of the phone's networks.
        """
        with namespaces.inside(_name("phone")):
            listener = socket.create_server((LOOPBACK, port))
        writers: set[asyncio.StreamWriter] = set()

        async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there_reader, there_writer = await asyncio.open_connection(LOOPBACK, port)
            writers.update((writer, there_writer))
            with contextlib.suppress(OSError):
                await asyncio.gather(_pump(reader, there_writer), _pump(there_reader, writer))
            writers.difference_update((writer, there_writer))

        server = await asyncio.start_server(join, sock=listener)
        try:
            yield
        finally:
            server.close()
            for writer in writers:
                writer.transport.abort()

    def map(self, access: Access, public: str) -> range:
        """Have a network's NAT forget its mappings, and make others.

        What comes to the former ones is lost without a word.

        Args:
            access: The network.
            public: The IP address of the mappings from now on.

        Returns:
            Their ports: none that any had before.
        """
        self._mappings[access] = public
        self._ports = range(self._ports.stop, self._ports.stop + _PORTS)
        to = f"{self._ports[0]}-{self._ports[-1]}"
        snat = "".join(
            f"ip saddr {access.address} meta l4proto udp snat to {public}:{to}\n"
            for access, public in self._mappings.items()
        )
        with namespaces.inside(_name("router")):
            _run(["nft", "-f", "-"], _RULES.format(snat=snat, uplink=_UPLINK))
            _run(["conntrack", "-F"])
        return self._ports

    def unplug(self, access: Access) -> None:
        """Cut a network off behind its access point: the phone is not told."""
        _configure("router", [f"link set {access.device} down"])

    def plug(self, access: Access) -> None:
        """Undo `unplug`."""
        _configure("router", [f"link set {access.device} up"])

    def leave(self, access: Access) -> None:
        """Have the phone leave a network: its address there and the routes are gone."""
        _configure(
            "phone",
            [
                f"rule delete from {access.address} lookup {access.metric}",
                f"address delete {access.address}/24 dev {access.device}",
                f"link set {access.device} down",
            ],
        )

    def join(self, access: Access) -> None:
        """Have the phone be in a network (again)."""
        device, table = access.device, access.metric
        _configure(
            "phone",
            [
                f"address add {access.address}/24 dev {device}",
                f"link set {device} up",
                f"route add default via {access.gateway} dev {device} metric {access.metric}",
                # As phones have it: what has an address of a network leaves by that network.
                f"route add default via {access.gateway} dev {device} table {table}",
                f"rule add from {access.address} lookup {table}",
            ],
        )

    def tap(self, access: Access | None = None) -> Tap:
        """Return what copies all that passes from now on between a network and its NAT.

        Without a network: all that passes between the NATs and the servers.
        """
        with namespaces.inside(_name("router")):
            return Tap(_UPLINK if access is None else access.device)

    @contextlib.contextmanager
    def silenced(self, access: Access) -> Iterator[None]:
        """Have what the phone sends by a network get no further than to a tap there."""
        with namespaces.inside(_name("router")):
            _run(["nft", f"add rule ip nat through iifname {access.device} drop"])
        try:
            yield
        finally:
            with namespaces.inside(_name("router")):
                _run(["nft", "flush chain ip nat through"])

    def _make(self) -> None:
        namespaces.make([_name("phone"), _name("router")])
        namespaces.configure(
            [
                f"link add {_UPLINK} type veth peer name {_UPLINK} netns {_name('router')}",
                f"link set {_UPLINK} addrgenmode none",
                f"link set {_UPLINK} up",
                *(f"route add {address}/32 dev {_UPLINK} src {HOST}" for address in PUBLIC),
            ]
        )
        _configure(
            "router",
            [
                "link set lo up",
                f"link set {_UPLINK} addrgenmode none",
                *(f"address add {address}/32 dev {_UPLINK}" for address in PUBLIC),
                f"link set {_UPLINK} up",
                f"route add {HOST}/32 dev {_UPLINK}",
            ],
        )
        _configure("phone", ["link set lo up"])
        for access in (WLAN, MOBILE):
            _configure(
                "router",
                [
                    f"link add {access.device} type veth peer name {access.device} "
                    f"netns {_name('phone')}",
                    f"link set {access.device} addrgenmode none",
                    f"address add {access.gateway}/24 dev {access.device}",
                    f"link set {access.device} up",
                ],
            )
            _configure("phone", [f"link set {access.device} addrgenmode none"])
        with namespaces.inside(_name("router")):
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


@dataclass(frozen=True)
class Datagram:
    """A UDP datagram between the routers and a server."""

    source: tuple[str, int]
    destination: tuple[str, int]
    payload: bytes

    @property
    def stun(self) -> int | None:
        """The type of the STUN message that it is, if it is one."""
        return stun_type(self.payload)

    @property
    def rtp(self) -> bool:
        """Whether it is RTP, and not RTCP (RFC 5761 §4)."""
        return 128 <= self.payload[0] < 192 and not 64 <= self.payload[1] & 127 < 96


class Tap:
    """Copies of datagrams, of those that passed since it was made. A context manager.

    Args:
        device: By which they pass, in the namespace in which this thread is.
    """

    def __init__(self, device: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERYTHING))
        self._socket.bind((device, 0))
        self._socket.setblocking(False)
        self.seen: list[Datagram] = []

    def __enter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._socket, self._read)
        return self

    def __exit__(self, *error: object) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                frame = self._socket.recv(65_535)
                packet = frame[_ETHERNET_BYTES:]
                if frame[:_ETHERNET_BYTES].endswith(_IPV4) and packet[9] == _UDP:
                    self.seen.append(_datagram(packet))


def stun_type(payload: bytes) -> int | None:
    """Return the type of the STUN message that a datagram is, if it is one (RFC 7983)."""
    return int.from_bytes(payload[:2]) if payload[0] < 4 else None


def _datagram(packet: bytes) -> Datagram:
    udp = packet[(packet[0] & 15) * 4 :]
    ports = int.from_bytes(udp[:2]), int.from_bytes(udp[2:4])
    source, destination = (socket.inet_ntoa(packet[at : at + 4]) for at in (12, 16))
    payload = udp[8 : int.from_bytes(udp[4:6])]
    return Datagram((source, ports[0]), (destination, ports[1]), payload)


def _configure(place: str, lines: Iterable[str]) -> None:
    with namespaces.inside(_name(place)):
        namespaces.configure(lines)


def _run(command: Sequence[str], text: str = "") -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NamespaceError(f"`{command[0]}` failed: {done.stderr.strip()}")


def _name(place: str) -> str:
    return namespaces.name_of(os.getpid(), place)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65_536):
        writer.write(piece)
        await writer.drain()
    writer.close()
