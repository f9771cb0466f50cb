"""The addresses of this machine."""

from __future__ import annotations

import socket
from typing import Final

#: Documentation's own (RFC 5737): nobody has it, but where there is a network, there is a route.
_ELSEWHERE: Final = ("192.0.2.1", 9)


def own_address() -> str:
    """The address of this machine that others see, or loopback when it has no network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Sends nothing: connecting a UDP socket only asks the routing table.
            probe.connect(_ELSEWHERE)
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
