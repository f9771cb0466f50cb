"""A network of the tests' own: nothing that they send can leave it, and every port is free.

`enter` moves this process into a new network namespace with a loopback and one interface that
holds `HOST`, by which the default route leads. What is started from here on lives in it too.
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

#: Where relays listen and from where clients call.
HOST = "10.99.0.1"
#: Where transceivers and HTTP listen. Its name `localhost` is what browsers grant a microphone.
LOOPBACK = "127.0.0.1"

#: Longer than the kernel waits before it repeats itself.
_QUIET_SECONDS = 2.0
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
#: Below the kernel's ephemeral ports, so that no client's socket is ever in the way.
_ports: Iterator[int] = itertools.count(20_000)


class NoNetworkError(Exception):
    """The namespace could not be made; the message tells what is missing."""


def enter() -> None:
    """Move this process into a network namespace of its own.

    Call it on the main thread, before there are others: threads that run already stay outside,
    and without root the kernel asks for a process that has no other thread at all.

    Raises:
        NoNetworkError: Something that it takes is missing.
    """
    if shutil.which("ip") is None:
        raise NoNetworkError("the program `ip` is missing: install iproute2")
    _unshare()
    _ip("link", "set", "lo", "up")
    _add_interface()
    # No IPv6: clients would gather a link-local candidate that leads nowhere.
    _ip("link", "set", "fh0", "addrgenmode", "none")
    _ip("address", "add", f"{HOST}/24", "dev", "fh0")
    _ip("link", "set", "fh0", "up")
    _ip("route", "add", "default", "dev", "fh0")


def ports(count: int = 1) -> int:
    """Return the first of `count` consecutive ports that nobody else is given."""
    first = next(_ports)
    for _ in range(count - 1):
        next(_ports)
    return first


async def quiet() -> int:
    """Wait until nothing leaves any more, and return how many packets have left.

    A browser that has ended left its multicast groups, and the kernel says so twice, a second apart
    (RFC 3376 §8.11).
    """
    seen = -1
    while seen != (now := packets_sent_away()):
        seen = now
        await asyncio.sleep(_QUIET_SECONDS)
    return seen


def packets_sent_away() -> int:
    """Return how many packets have left by the default route: what was sent to `HOST` has not."""
    for line in Path("/proc/thread-self/net/dev").read_text().splitlines():
        name, _, counts = line.partition(":")
        if name.strip() == "fh0":
            return int(counts.split()[9])
    raise NoNetworkError("the interface fh0 is gone")


def _unshare() -> None:
    user, group = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) == 0:
        return
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        problem = os.strerror(ctypes.get_errno())
        raise NoNetworkError(
            f"no network namespace can be made ({problem}): it takes root (CAP_SYS_ADMIN), or a "
            "kernel that gives user namespaces to everybody (kernel.unprivileged_userns_clone=1)"
        )
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def _add_interface() -> None:
    try:
        _ip("link", "add", "fh0", "type", "dummy")
    except NoNetworkError:
        # Kernels without the dummy driver mostly have veth; its other end is left alone.
        _ip("link", "add", "fh0", "type", "veth", "peer", "name", "fh1")
        _ip("link", "set", "fh1", "addrgenmode", "none")
        _ip("link", "set", "fh1", "up")


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        command = " ".join(("ip", *arguments))
        raise NoNetworkError(f"`{command}` failed in the new namespace: {done.stderr.strip()}")
