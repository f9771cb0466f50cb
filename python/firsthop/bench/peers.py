"""The relays that firsthop is compared with and that are built from ``bench/peers``."""

from __future__ import annotations

import os
import sys
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

from firsthop.bench import checkout
from firsthop.bench.contender import Contender, free_endpoint
from firsthop.bench.datagrams import Endpoint, Send
from firsthop.bench.isolation import Isolation
from firsthop.bench.load import CLIENT_PORT
from firsthop.bench.trace import Packet, client_address

#: The header of these relays: laid out as RE1 (docs/wire-format.md), its MAC zero.
_HEADER_START = bytes([0xE5, 0x20, 0, 3, 0, 0])


class _Peer(Contender):
    """A program that takes addresses as arguments and puts a prepared header before packets."""

    def __init__(self, isolation: Isolation, owners: Sequence[Endpoint], folder: Path) -> None:
        super().__init__(isolation, owners, folder)
        self.upstream = free_endpoint()

    @abstractmethod
    def command(self) -> list[str | Path]:
        """Build the program if need be, and return how to run it."""

    def start(self) -> None:
        """Start it; it says when it is ready."""
        addresses = [self.public, self.upstream, *self.owners]
        self.launch([*self.command(), *map(str, addresses)], os.environ)
        self.wait_for_line("ready")

    def teach(self, clients: int) -> None:
        """Nothing to do: it makes a flow of each client's first packet."""

    def up(self, packets: Sequence[Packet]) -> list[Send]:
        """Clients send bare packets."""
        return [
            Send(self.public, packet.payload, source=client_address(packet.client))
            for packet in packets
        ]

    def down(self, packets: Sequence[Packet]) -> list[Send]:
        """The transceiver sends one datagram per packet, behind a header that names the client."""
        return [Send(self.upstream, _header(packet) + packet.payload) for packet in packets]


class CMmsg(_Peer):
    """The reference: see ``bench/peers/c-mmsg.c``."""

    name = "c-mmsg"

    def command(self) -> list[str | Path]:
        """Compile it."""
        return [checkout.build_c("peers/c-mmsg.c")]


class CSingle(_Peer):
    """See ``bench/peers/c-single.c``."""

    name = "c-single"

    def command(self) -> list[str | Path]:
        """Compile it."""
        return [checkout.build_c("peers/c-single.c")]


class Go(_Peer):
    """See ``bench/peers/go/main.go``."""

    name = "go"

    def command(self) -> list[str | Path]:
        """Build it."""
        return [checkout.build_go("peers/go", "go-relay")]


class PythonAsyncio(_Peer):
    """See ``bench/peers/python-asyncio.py``."""

    name = "python-asyncio"

    def command(self) -> list[str | Path]:
        """Run it by the interpreter that runs this."""
        return [sys.executable, checkout.SOURCES / "peers" / "python-asyncio.py"]


def _header(packet: Packet) -> bytes:
    port = CLIENT_PORT.to_bytes(2, "big")
    length = len(packet.payload).to_bytes(2, "big")
    return _HEADER_START + port + bytes(2) + length + client_address(packet.client) + bytes(8)
