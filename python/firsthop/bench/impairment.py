"""A network between clients and a server that is worse than this machine's: `Path`."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from firsthop.bench import link
from firsthop.bench.errors import BenchError
from firsthop.bench.link import Conditions

__all__ = ["Conditions", "Counts", "Packet", "Passage", "Path"]

_STOP_SECONDS = 10.0


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


class Path:
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
        self._one_command = threading.Lock()
        given = link.arguments(_address(server), _address(listen), up, down, keep)
        self._process = subprocess.Popen(
            [sys.executable, "-I", link.__file__, *given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            host, port = self._reply()
        except BaseException:
            self.close()
            raise
        #: What clients send to, as ``host:port``.
        self.address: str = _text(host, port)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it; what is on its way is lost."""
        assert self._process.stdin is not None and self._process.stdout is not None
        # It ends with its standard input, so that it cannot outlive this process either.
        self._process.stdin.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def lead_to(self, server: str) -> None:
        """Send what clients say to another server from now on. May be called by any thread.

        Raises:
            BenchError: It is not ``host:port``.
        """
        self._do("lead_to", *_address(server))

    def admit(self, client: str) -> str:
        """Let the server reach a client that has not sent anything yet, as one without a NAT.

        Args:
            client: Its ``host:port``.

        Returns:
            Where the server reaches it, ``host:port``.

        Raises:
            BenchError: It is not ``host:port``, or there are too many clients.
        """
        place = self._do("admit", *_address(client))
        if place is None:
            raise BenchError("too many clients for one path")
        return _text(*place)

    def change_port(self) -> None:
        """Give each client another source port at the server, as a NAT does.

        What the server sends to the former one is lost without a word.
        """
        self._do("change_port")

    def cut(self) -> None:
        """Let nothing pass from now on; what is on its way is lost too."""
        self._do("cut")

    def mend(self) -> None:
        """Let packets pass again."""
        self._do("mend")

    def counts(self) -> Counts:
        """What became of packets so far. What is on its way came, and has not yet passed."""
        seen: dict[str, int] = self._do("counts")
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
            Packet(at_s, way == "up", bytes.fromhex(data))
            for at_s, way, data in self._do("packets")
        ]

    def _do(self, command: str, *given: str | int) -> Any:
        """Have the process do something; done when this returns."""
        assert self._process.stdin is not None
        with self._one_command:
            try:
                self._process.stdin.write(json.dumps([command, given]) + "\n")
                self._process.stdin.flush()
            except (BrokenPipeError, ValueError):
                raise BenchError("the impaired path has ended") from None
            return self._reply()

    def _reply(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BenchError("the impaired path has ended: what it printed says why")
        return json.loads(line)


def _text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _address(text: str) -> link.Address:
    """Parse ``host:port`` with an IP address, in brackets if it is IPv6."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise BenchError(f"{text!r} is not an address and a port, as in 127.0.0.1:3478")
    return host.strip("[]"), int(port)
