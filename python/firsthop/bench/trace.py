"""Packets of clients as they are in life: SRTP with Opus, in the sizes of a recorded trace."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from firsthop.bench import checkout

RTP_HEADER_BYTES = 12
SRTP_TAG_BYTES = 10
#: The clients: all of 127/8 is this machine. One address each, all with the same port.
_FIRST_CLIENT = int(IPv4Address("127.16.0.0"))
MAX_CLIENTS = 1 << 20

_RTP = struct.Struct(">BBHII")
_RTP_VERSION_2 = 0x80
_PAYLOAD_TYPE = 111
_SAMPLES_PER_PACKET = 960


@dataclass(frozen=True)
class Packet:
    """One packet between a client and its transceiver."""

    client: int
    """Number of the client, below `MAX_CLIENTS`."""
    payload: bytes
    """What a UDP datagram carries: RTP header, encrypted Opus, tag."""


def client_address(number: int) -> bytes:
    """Return the IPv4 address of a client, in network byte order."""
    if not 0 <= number < MAX_CLIENTS:
        raise ValueError(f"client {number}: expected 0 to {MAX_CLIENTS - 1}")
    return (_FIRST_CLIENT + number).to_bytes(4, "big")


def opus_sizes(path: Path | None = None) -> list[int]:
    """Read a trace: payload bytes of successive Opus packets; lines with # are remarks."""
    path = path or checkout.SOURCES / "trace" / "opus-speech.txt"
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return [int(size) for size in " ".join(lines).split()]


def packets(clients: int, count: int, seed: int) -> list[Packet]:
    """Make `count` packets of randomly chosen clients, each somewhere else in the same speech.

    The same arguments make the same packets.
    """
    rng = random.Random(seed)
    sizes = opus_sizes()
    noise = rng.randbytes(4096)
    sent: dict[int, int] = {}
    made = []
    for _ in range(count):
        client = rng.randrange(clients)
        # Neighbouring numbers begin far from each other.
        index = sent.get(client, client * 7919)
        sent[client] = index + 1
        size = sizes[index % len(sizes)] + SRTP_TAG_BYTES
        timestamp = index * _SAMPLES_PER_PACKET
        header = _RTP.pack(
            _RTP_VERSION_2, _PAYLOAD_TYPE, index & 0xFFFF, timestamp & 0xFFFFFFFF, client
        )
        start = rng.randrange(len(noise) - size)
        made.append(Packet(client, header + noise[start : start + size]))
    return made
