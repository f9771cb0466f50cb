"""Addresses: this machine's, and those that answers name."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Final

#: Documentation's own (RFC 5737): nobody has it, but where there is a network, there is a route.
_ELSEWHERE: Final = ("192.0.2.1", 9)


@dataclass(frozen=True)
class Candidates:
    """The addresses, each `ip:port`, that one session's answers name; the most preferred first."""

    udp: tuple[str, ...]
    tcp: tuple[str, ...] = ()
    """For clients that cannot send UDP. Less preferred than all of `udp`."""


def own_address() -> str:
    """The address of this machine that others see, or loopback when it has no network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Sends nothing: connecting a UDP socket only asks the routing table.
            probe.connect(_ELSEWHERE)
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
