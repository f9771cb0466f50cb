"""Keeps a measurement apart from what else the machine does: its own network, its own priority.

Without root, less is possible; then the notes say what is missing, and they stay in the report.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from firsthop.bench.errors import BenchError

_CLONE_NEWNET = 0x40000000
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
#: How much nicer a relay is than the generator when there is no real-time priority.
RELAY_NICE = 19


@dataclass(frozen=True)
class Isolation:
    """What was possible."""

    core: int
    """Where relays and their load run."""
    other_core: int | None
    """Where the generator of the latency case runs; None on a machine with one core."""
    realtime: bool
    """Whether threads can have real-time priority."""
    notes: tuple[str, ...]
    """What was not possible, for the report."""


def enter() -> Isolation:
    """Move this thread, and what it starts from now on, into a network of its own.

    Raises:
        BenchError: The system is not Linux.
    """
    if not hasattr(os, "sched_setaffinity"):
        raise BenchError("this benchmark measures Linux sockets: run it on Linux")
    notes = []
    if not _own_network():
        notes.append(
            "without root, on the machine's own loopback: other traffic there is measured along"
        )
    realtime = _can_be_realtime()
    if not realtime:
        notes.append(
            "without real-time priority (it takes root): relays run at nice "
            f"{RELAY_NICE} instead, and neighbours' work shows in the figures"
        )
    cores = sorted(os.sched_getaffinity(0))
    return Isolation(
        core=cores[-1],
        other_core=cores[0] if len(cores) > 1 else None,
        realtime=realtime,
        notes=tuple(notes),
    )


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Keep this thread, and what it starts meanwhile, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def set_realtime(pid: int, *, on: bool) -> None:
    """Give every thread of a process real-time priority, or an ordinary one again."""
    set_threads_realtime(map(int, os.listdir(f"/proc/{pid}/task")), on=on)


def set_threads_realtime(threads: Iterable[int], *, on: bool) -> None:
    """Give some threads real-time priority, or an ordinary one again."""
    policy = os.SCHED_FIFO if on else os.SCHED_OTHER
    for thread in threads:
        os.sched_setscheduler(thread, policy, os.sched_param(1 if on else 0))


def put_before_neighbours(pid: int) -> None:
    """Have a process that leads a session go before what else the machine does. Takes root.

    By default, Linux shares time among sessions first: niceness counts within one (sched(7)).
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, -20)
        Path(f"/proc/{pid}/autogroup").write_text("-20")


def _own_network() -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
    return True


def _can_be_realtime() -> bool:
    """Try it: root in a container may lack it, and a limit may grant it to others."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        return False
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return True
