"""Ogg files, put together of their parts."""

from __future__ import annotations

import struct
from collections.abc import Sequence


def page(
    body: bytes, segments: bytes, *, stream: int = 7, number: int = 0, flags: int = 0
) -> bytes:
    """A page (RFC 3533 section 6), without checksum."""
    head = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, 0, stream, number, 0, len(segments))
    return head + segments + body


def laced(size: int) -> bytes:
    """The segment table of a packet."""
    return b"\xff" * (size // 255) + bytes([size % 255])


def head(channels: int = 1, family: int = 0) -> bytes:
    """An identification header (RFC 7845 section 5.1)."""
    return struct.pack("<8sBBHIhB", b"OpusHead", 1, channels, 312, 48_000, 0, family)


TAGS = b"OpusTags" + struct.pack("<I", 0) + struct.pack("<I", 0)


def ogg(packets: Sequence[bytes], *, channels: int = 1, stream: int = 7) -> bytes:
    """A file with these packets, a few to a page."""
    opening = head(channels)
    pages = [
        page(opening, laced(len(opening)), stream=stream, flags=2),
        page(TAGS, laced(len(TAGS)), stream=stream, number=1),
    ]
    for at in range(0, len(packets), 5):
        some = packets[at : at + 5]
        table = b"".join(laced(len(packet)) for packet in some)
        pages.append(page(b"".join(some), table, stream=stream, number=2 + at))
    return b"".join(pages)
