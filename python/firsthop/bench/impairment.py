"""A network between clients and a server that is worse than this machine's: `Path`."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from firsthop.bench import link
from firsthop.bench.errors import BenchError
from firsthop.bench.link import Conditions
from firsthop.bench.process import NetworkProcess

__all__ = ["Conditions", "Counts", "Packet", "Passage", "Path"]


@dataclass(frozen=True, slots=True)
class Passage:
    """What became of the packets of one direction."""

    came: int
    passed: int
    lost: int
    """By chance, or because the path was cut."""
    refused: int
    """The system took them not: their way out is full, or there is none."""
    full: int
    """They were too many for this path: it measures nothing then."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of packets so far."""

    up: Passage
    down: Passage


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet that came to the path."""

    at_s: float
    """When, as `time.monotonic` has it."""
    up: bool
    """Whether a client sent it."""
    data: bytes


class Path(NetworkProcess):
    """A user-space UDP path between clients and one server, in a process of its own.

    The server sees each client as another port of the path's own address: one of 127.0.0.1 leads
    to servers on loopback only. Packets leave to within a
    few tenths of a millisecond of their time, better as root. A context manager; leaving ends it.

    Args:
        server: ``host:port`` to which clients' packets go.
        listen: Where the path takes them; port 0 is any free one.
        up: What happens to what clients send.
        down: What happens to what the server sends.
        keep: How many packets to keep for `packets`, the first ones.

    Raises:
        BenchError: It does not come up, as when `listen` is taken.
    """

    def __init__(
        self,
        server: str,
        *,
        listen: str = "127.0.0.1:0",
        up: Conditions,
        down: Conditions,
        keep: int = 0,
    ) -> None:
        given = link.arguments(_address(server), _address(listen), up, down, keep)
        super().__init__("the impaired path", [sys.executable, "-I", link.__file__, *given])
        try:
            host, port = self.reply()
        except BaseException:
            self.close()
            raise
        #: What clients send to, as ``host:port``.
        self.address: str = _text(host, port)

    def lead_to(self, server: str) -> None:
        """Send what clients say to another server from now on. May be called by any thread.

        Raises:
            BenchError: It is not ``host:port``.
        """
        self.do("lead_to", *_address(server))

    def admit(self, client: str) -> str:
        """Let the server reach a client that has not sent anything yet, as one without a NAT.

        Args:
            client: Its ``host:port``.

        Returns:
            Where the server reaches it, ``host:port``.

        Raises:
            BenchError: It is not ``host:port``, or there are too many clients.
        """
        place = self.do("admit", *_address(client))
        if place is None:
            raise BenchError("too many clients for one path")
        return _text(*place)

    def change_port(self) -> None:
        """Give each client another source port at the server, as a NAT does.

        What the server sends to the former one is lost without a word.
        """
        self.do("change_port")

    def cut(self) -> None:
        """Let nothing pass from now on; what is on its way is lost too."""
        self.do("cut")

    def mend(self) -> None:
        """Let packets pass again."""
        self.do("mend")

    def counts(self) -> Counts:
        """What became of packets so far. What is on its way came, and has not yet passed."""
        seen: dict[str, int] = self.do("counts")
        up, down = (
            Passage(
                **{
                    what: seen.get(f"{way} {what}", 0)
                    for what in ("came", "passed", "lost", "refused", "full")
                }
            )
            for way in ("up", "down")
        )
        return Counts(up, down)

    def packets(self) -> list[Packet]:
        """Return the packets that were kept, in the order in which they came."""
        return [
            Packet(at_s, way == "up", bytes.fromhex(data)) for at_s, way, data in self.do("packets")
        ]


def _text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _address(text: str) -> link.Address:
    """Parse ``host:port`` with an IP address, in brackets if it is IPv6."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise BenchError(f"{text!r} is not an address and a port, as in 127.0.0.1:3478")
    return host.strip("[]"), int(port)
