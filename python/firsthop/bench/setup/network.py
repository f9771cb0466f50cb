"""An address of this machine by which a browser calls it."""

from __future__ import annotations

import shutil
import subprocess
from typing import Final

from firsthop.bench import programs
from firsthop.bench.errors import BenchError

_HOST: Final = "10.99.0.1"
_INTERFACE: Final = "fh0"


def browser_address(*, own_network: bool) -> str:
    """Return the address; in a network of our own, make an interface that has it.

    Browsers do not call from loopback, so an address of that, as other benchmarks take it, is
    none for them.

    Raises:
        BenchError: The interface cannot be made.
    """
    if not own_network:
        return programs.client_address(own_network=False)
    if shutil.which("ip") is None:
        raise BenchError("the program `ip` is missing: install iproute2")
    try:
        _ip("link", "add", _INTERFACE, "type", "dummy")
    except BenchError:
        # Kernels without the dummy driver mostly have veth; its other end is left alone.
        _ip("link", "add", _INTERFACE, "type", "veth", "peer", "name", "fh1")
        _ip("link", "set", "fh1", "addrgenmode", "none")
        _ip("link", "set", "fh1", "up")
    # No IPv6: browsers would gather a link-local candidate that leads nowhere.
    _ip("link", "set", _INTERFACE, "addrgenmode", "none")
    _ip("address", "add", f"{_HOST}/24", "dev", _INTERFACE)
    _ip("link", "set", _INTERFACE, "up")
    _ip("route", "add", "default", "dev", _INTERFACE)
    return _HOST


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        command = " ".join(("ip", *arguments))
        raise BenchError(f"`{command}` failed in a network of our own: {done.stderr.strip()}")
