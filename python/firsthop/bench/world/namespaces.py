"""Network namespaces with names, and all that lives in them: made, entered, and removed.

Their names begin with the id of the process that they are for, so that whoever comes later can tell
which ones were left behind.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_FOLDER: Final = Path("/run/netns")
_PREFIX: Final = "firsthop"
_CLONE_NEWNET: Final = 0x40000000
#: Processes in a namespace that is removed have so long to be gone.
_KILLED_SECONDS: Final = 2.0


class NamespaceError(Exception):
    """The system refuses; the message says what."""


def name_of(owner: int, place: str) -> str:
    """Return the name of a namespace of a process."""
    return f"{_PREFIX}-{owner}-{place}"


def make(names: Iterable[str]) -> None:
    """Make namespaces.

    Raises:
        NamespaceError: They cannot be made.
    """
    configure(f"netns add {name}" for name in names)


def configure(lines: Iterable[str], *, go_on: bool = False) -> None:
    """Have `ip` do all these, in the namespace in which this thread is.

    Args:
        lines: What is to be done, one after the other.
        go_on: Whether the others are done when one fails.

    Raises:
        NamespaceError: One of them fails.
    """
    try:
        done = subprocess.run(
            ["ip", *(["-force"] if go_on else []), "-batch", "-"],
            input="".join(f"{line}\n" for line in lines),
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise NamespaceError("the program `ip` is missing: install iproute2") from None
    if done.returncode != 0:
        raise NamespaceError(f"`ip` failed: {done.stderr.strip()}")


@contextmanager
def inside(name: str) -> Iterator[None]:
    """Have this thread be in a namespace: sockets that it makes meanwhile stay there.

    So do threads and processes that it starts. Not across an `await`.
    """
    with Path("/proc/thread-self/ns/net").open("rb") as home, (_FOLDER / name).open("rb") as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(home.fileno())


def exec_in(name: str) -> list[str]:
    """Return what goes before a command that is to run in a namespace."""
    return ["ip", "netns", "exec", name]


def remove(owner: int) -> None:
    """Remove the namespaces of a process, and kill what still runs in them."""
    remove_named([path.name for path in _all() if _owner(path.name) == owner])


def remove_stale() -> None:
    """Remove those whose process is dead."""
    remove_named([path.name for path in _all() if not Path(f"/proc/{_owner(path.name)}").exists()])


def remove_named(names: Sequence[str]) -> None:
    """Remove some of them, and kill what still runs in these."""
    if not names:
        return
    inodes = set(_inodes(names))
    _kill(inodes)
    # Whoever else comes to clean up may have been faster.
    with suppress(NamespaceError):
        configure((f"netns delete {name}" for name in names), go_on=True)
    # A program may have been about to enter; from here on none can.
    _kill(inodes)


def _kill(inodes: Collection[int]) -> None:
    """Kill the processes that are in one of these namespaces, and wait for that."""
    deadline = time.monotonic() + _KILLED_SECONDS
    while (pids := _within(inodes)) and time.monotonic() < deadline:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _inodes(names: Iterable[str]) -> Iterator[int]:
    for name in names:
        with suppress(FileNotFoundError):
            yield (_FOLDER / name).stat().st_ino


def _within(inodes: Collection[int]) -> list[int]:
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            with suppress(OSError):
                if (process / "ns/net").stat().st_ino in inodes:
                    found.append(int(process.name))
    return found


def _all() -> list[Path]:
    return list(_FOLDER.glob(f"{_PREFIX}-*-*")) if _FOLDER.is_dir() else []


def _owner(name: str) -> int:
    number = name.split("-")[1]
    return int(number) if number.isdecimal() else 0


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise NamespaceError(f"setns: {os.strerror(ctypes.get_errno())}")
