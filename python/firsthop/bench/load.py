"""Runs the load programs, and reads what they saw."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from firsthop.bench import checkout
from firsthop.bench.datagrams import BURST, Endpoint
from firsthop.bench.errors import BenchError
from firsthop.bench.isolation import Isolation

#: From and to where all clients talk: one socket, bound to every address.
CLIENT_PORT = 23_000
_CLIENTS = f"0.0.0.0:{CLIENT_PORT}"
_RUN_SECONDS = 120
#: What a relay does when nothing comes is known to some percent only, and may be this part of what
#: it did in a measurement before the difference means little.
_LARGEST_IDLE_PART = 0.25

Direction = Literal["up", "down"]
#: What the transceiver's end receives: hop headers with packets, or bare packets.
Framing = Literal["records", "datagrams"]


@dataclass(frozen=True)
class Cost:
    """What forwarding a number of packets took."""

    sent: int
    received: int
    cpu_ns: float
    """CPU time of the relay, whatever for."""
    idle_ns: float = 0.0
    """The part of it that the relay would have taken if nothing had come."""

    @property
    def lost(self) -> int:
        """Packets that did not arrive."""
        return self.sent - self.received

    @property
    def unfit(self) -> str | None:
        """Why this is no measure of forwarding, or None if it is one."""
        if self.lost:
            return "loss"
        if self.idle_ns > self.cpu_ns * _LARGEST_IDLE_PART:
            return "work of its own"
        return None

    @property
    def ns_per_packet(self) -> float:
        """CPU time of the relay for one packet that arrived, less what it takes when idle.

        When that is too large a part to be known well, nothing is taken off.
        """
        if not self.received:
            return float("inf")
        return self.cpu_ns * (1 - self.taken_off) / self.received

    @property
    def taken_off(self) -> float:
        """The part of the CPU time that is not in `ns_per_packet`, from 0 to 1."""
        if self.unfit == "work of its own" or not self.cpu_ns:
            return 0.0
        return self.idle_ns / self.cpu_ns


@dataclass(frozen=True)
class Latency:
    """How long packets took, in nanoseconds."""

    sent: int
    received: int
    p50_ns: int
    p99_ns: int


def solo(
    isolation: Isolation,
    *,
    pid: int,
    idle_ns: float,
    direction: Direction,
    owners: Sequence[Endpoint],
    framing: Framing,
    gro: bool,
    datagrams: Path,
    packets: int,
    limit_seconds: float,
) -> Cost:
    """Send bursts through the relay `pid`, on its own core, and read what they cost it.

    `idle_ns` is what the process takes in a second when nothing comes: on a busy machine a run
    takes longer, and that must not make its packets dearer.
    It sends `packets` packets, or what it manages in `limit_seconds` on a busy machine.
    `gro` is whether the transceiver's end takes several datagrams at once from the kernel.
    """
    sender = "client" if direction == "up" else "owner"
    arguments = [
        *("--core", str(isolation.core), "--pid", str(pid), "--client", _CLIENTS),
        *(part for owner in owners for part in ("--owner", str(owner))),
        *("--from", sender, "--count", framing, "--datagrams", str(datagrams)),
        *("--bursts", str(packets // BURST), "--limit-ms", str(round(limit_seconds * 1000))),
        *(["--gro"] if gro else []),
        *(["--realtime"] if isolation.realtime else []),
    ]
    seen = _run("load/solo.c", arguments)
    return Cost(seen["sent"], seen["received"], seen["cpu_ns"], idle_ns * seen["wall_ns"] / 1e9)


def pace(
    isolation: Isolation,
    *,
    owner: Endpoint,
    framing: Framing,
    datagrams: Path,
    rate: int,
    packets: int,
) -> Latency:
    """Send `rate` packets per second from another core than the relay's, one at a time."""
    assert isolation.other_core is not None, "there is one core only"
    arguments = [
        *("--core", str(isolation.other_core), "--client", _CLIENTS, "--owner", str(owner)),
        *("--count", framing, "--datagrams", str(datagrams)),
        *("--rate", str(rate), "--packets", str(packets)),
        *(["--realtime"] if isolation.realtime else []),
    ]
    seen = _run("load/pace.c", arguments)
    if not seen["received"]:
        raise BenchError("no packet came through")
    return Latency(seen["sent"], seen["received"], seen["p50_ns"], seen["p99_ns"])


def _run(source: str, arguments: list[str]) -> dict[str, Any]:
    program = checkout.build_c(source)
    done = subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=_RUN_SECONDS, check=False
    )
    if done.returncode != 0:
        raise BenchError(f"{program.name} failed: {done.stderr.strip()}")
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen
