"""A relay as it is written in Python without thinking twice: two asyncio DatagramProtocols.

python-asyncio.py LISTEN UPSTREAM OWNER...      each as ip:port

A client's first packet makes its flow, which goes to the owners in turn. The header has the size
and layout of firsthop's hop header; its MAC is left zero and is not checked.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys

HEADER = struct.Struct(">BBBBHHHH4s8x")
BUFFER_BYTES = 4 << 20

Address = tuple[str, int]


class Public(asyncio.DatagramProtocol):
    """Clients to owners."""

    def __init__(self, upstream: asyncio.DatagramTransport, owners: list[Address]) -> None:
        self._upstream = upstream
        self._owners = owners
        self._flows: dict[Address, tuple[Address, bytes, bytes]] = {}

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """Put the flow's header in front, and pass it on."""
        flow = self._flows.get(addr)
        if flow is None:
            owner = self._owners[len(self._flows) % len(self._owners)]
            ip = socket.inet_aton(addr[0])
            header = HEADER.pack(0xE5, 1 << 5, 0, 3, 0, addr[1], 0, 0, ip)
            flow = self._flows[addr] = owner, header[:10], header[12:]
        owner, before, after = flow
        self._upstream.sendto(before + len(data).to_bytes(2) + after + data, owner)


class Upstream(asyncio.DatagramProtocol):
    """Owners to clients."""

    def __init__(self) -> None:
        self.public: asyncio.DatagramTransport | None = None

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """Take the header off, and pass the packet to the client that it names."""
        fields = HEADER.unpack_from(data)
        if self.public is not None:
            self.public.sendto(data[HEADER.size :], (socket.inet_ntoa(fields[8]), fields[5]))


def bound(text: str) -> socket.socket:
    """Return a socket that is bound to ``ip:port``."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    made.bind(address(text))
    return made


def address(text: str) -> Address:
    """Parse ``ip:port``."""
    ip, _, port = text.rpartition(":")
    return ip, int(port)


async def main(listen: str, upstream: str, *owners: str) -> None:
    """Relay until killed."""
    loop = asyncio.get_running_loop()
    to_owners, protocol = await loop.create_datagram_endpoint(Upstream, sock=bound(upstream))
    protocol.public, _ = await loop.create_datagram_endpoint(
        lambda: Public(to_owners, [address(owner) for owner in owners]), sock=bound(listen)
    )
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
