"""What Linux knows of a process: CPU time, resident memory, datagrams that its sockets lost."""

from __future__ import annotations

import os
import resource
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from firsthop.bench.errors import BenchError

#: Of the clock that counts all CPU time of a process: CPUCLOCK_SCHED of linux/posix-timers.h.
_SCHEDULED: Final = 2
_FILES: Final = 16_384


def cpu_s(pid: int) -> float:
    """The CPU time of all threads of a process so far, of ended ones too, in seconds."""
    # As clock_getcpuclockid(3) makes it, which Python does not have.
    return time.clock_gettime((~pid << 3) | _SCHEDULED)


def own_threads() -> frozenset[int]:
    """The threads of this process."""
    return frozenset(map(int, os.listdir("/proc/self/task")))


def resident_bytes(pid: int) -> int:
    """The memory of a process that is in RAM."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def dropped(pid: int | str) -> int:
    """Count the datagrams that a process's UDP sockets have had no room for.

    Args:
        pid: One in our network, or ``self``.
    """
    return _dropped(_udp_sockets(), _sockets(pid))


def _dropped(table: str, inodes: set[int]) -> int:
    """Sum up the last column of ``/proc/net/udp`` for some sockets."""
    lines = (line.split() for line in table.splitlines()[1:])
    return sum(int(fields[-1]) for fields in lines if int(fields[9]) in inodes)


def _udp_sockets() -> str:
    # Of this thread's network: the process may have begun in another.
    return Path("/proc/thread-self/net/udp").read_text()


def _sockets(pid: int | str) -> set[int]:
    """The sockets of a process, by inode."""
    inodes = set()
    folder = f"/proc/{pid}/fd"
    for file in os.listdir(folder):
        # What was listed may be closed by now.
        with suppress(OSError):
            kind, _, rest = os.readlink(f"{folder}/{file}").partition(":[")
            if kind == "socket":
                inodes.add(int(rest.rstrip("]")))
    return inodes


def allow_files() -> None:
    """Let this process, and what it starts, have a file for each of some thousand sockets.

    Raises:
        BenchError: It may not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < _FILES // 4:
        raise BenchError(
            f"a process may have {hard} open files here, and each caller needs one: "
            f"`ulimit -n {_FILES}` as root"
        )
