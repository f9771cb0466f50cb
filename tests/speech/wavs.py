"""WAV files, put together of their parts."""

from __future__ import annotations

import struct

GUID = bytes.fromhex("000000001000800000aa00389b71")


def form(tag: int = 1, channels: int = 1, rate: int = 24_000, bits: int = 16) -> bytes:
    """What a fmt chunk holds."""
    frame = channels * bits // 8
    return struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, bits)


def extensible(tag: int, guid: bytes = GUID, **fields: int) -> bytes:
    """What it holds in WAVE_FORMAT_EXTENSIBLE."""
    return form(0xFFFE, **fields) + struct.pack("<HHIH", 22, 16, 0, tag) + guid


def chunk(name: bytes, data: bytes, size: int | None = None) -> bytes:
    """A chunk, which may claim another size."""
    size = len(data) if size is None else size
    return name + struct.pack("<I", size) + data + b"\0" * (len(data) % 2)


def riff(*chunks: bytes) -> bytes:
    """A file of unknown length."""
    return b"RIFF" + struct.pack("<I", 0xFFFFFFFF) + b"WAVE" + b"".join(chunks)
