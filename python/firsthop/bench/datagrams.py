"""Prepared datagrams: the file that the load programs send (``bench/load/load.h``)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

#: Packets that a relay finds in its socket at once, fixed in ``solo.c`` as well: what is left in
#: its caches grows with the burst, and so would the figures.
BURST = 256

#: A bundle of records is at most this long, as `firsthop` makes them.
BUNDLE_BYTES = 1400
#: The kernel's limits for a GSO train: segments, and bytes.
_TRAIN_SEGMENTS = 64
_TRAIN_BYTES = 65_000

_ENTRY = struct.Struct("<4s4s2sHII")


@dataclass(frozen=True)
class Endpoint:
    """An IPv4 transport address."""

    ip: bytes
    """Four bytes in network byte order."""
    port: int

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Read ``ip:port``."""
        host, _, port = text.rpartition(":")
        return cls(bytes(map(int, host.split("."))), int(port))

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.ip))}:{self.port}"


@dataclass(frozen=True)
class Send:
    """One call to send."""

    to: Endpoint
    payload: bytes
    source: bytes = bytes(4)
    """IPv4 address to send from; zeros: whatever the socket is bound to."""
    segment: int = 0
    """Bytes of each datagram of a GSO train; 0: one datagram."""
    packets: int = 1
    """Packets of clients that the relay forwards because of it."""


def write(path: Path, sends: Iterable[Send]) -> Path:
    """Write a file of prepared datagrams, and return its path."""
    with path.open("wb") as file:
        for send in sends:
            port = send.to.port.to_bytes(2, "big")
            size = len(send.payload)
            file.write(_ENTRY.pack(send.source, send.to.ip, port, send.segment, send.packets, size))
            file.write(send.payload)
    return path


def bundles(records: Iterable[bytes]) -> Iterator[tuple[bytes, int]]:
    """Put records into datagrams of at most `BUNDLE_BYTES`: (datagram, records in it)."""
    bundle, count = b"", 0
    for record in records:
        if bundle and len(bundle) + len(record) > BUNDLE_BYTES:
            yield bundle, count
            bundle, count = b"", 0
        bundle += record
        count += 1
    if bundle:
        yield bundle, count


def trains(records: Sequence[bytes], to: Endpoint) -> Iterator[Send]:
    """Send records as a transceiver does: bundled, and the bundles as GSO trains.

    All bundles of a train but the last are padded with zeros to one length.
    """
    longest = min(_TRAIN_SEGMENTS, _TRAIN_BYTES // BUNDLE_BYTES)
    for burst in _batches(records, BURST):
        for train in _batches(list(bundles(burst)), longest):
            *padded, last = [bundle for bundle, _ in train]
            payload = b"".join(bundle.ljust(BUNDLE_BYTES, b"\0") for bundle in padded) + last
            packets = sum(count for _, count in train)
            yield Send(to, payload, segment=BUNDLE_BYTES if padded else 0, packets=packets)


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
