"""Datagrams of a call, told apart."""

from __future__ import annotations

import struct

import pytest

from firsthop.bench.impairment import Packet
from firsthop.bench.setup.timeline import kind, lines

COOKIE = b"\x21\x12\xa4\x42" + bytes(12)


def stun(message: int, *attributes: tuple[int, bytes]) -> bytes:
    body = b"".join(
        struct.pack(">HH", number, len(value)) + value + bytes(-len(value) % 4)
        for number, value in attributes
    )
    return struct.pack(">HH", message, len(body)) + COOKIE + body


def record(content: int, body: bytes, *, epoch: int = 0) -> bytes:
    return struct.pack(">BHHHIH", content, 0xFEFD, epoch, 0, 0, len(body)) + body


def handshake(message: int, length: int, offset: int, piece: bytes) -> bytes:
    header = bytes([message]) + length.to_bytes(3) + bytes(2)
    return header + offset.to_bytes(3) + len(piece).to_bytes(3) + piece


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (stun(0x0001, (0x0006, b"a:b")), "STUN binding request"),
        (stun(0x0001, (0x0006, b"a:b"), (0x0025, b"")), "STUN binding request USE-CANDIDATE"),
        (stun(0x0101, (0xC070, b"x")), "STUN binding response with DTLS"),
        (record(22, handshake(1, 4, 0, b"abcd")), "DTLS ClientHello"),
        (record(22, handshake(1, 9, 4, b"abcd")), "DTLS ClientHello [4-8 of 9]"),
        (
            record(22, handshake(2, 1, 0, b"a")) + record(20, b"\x01") + record(22, b"x", epoch=1),
            "DTLS ServerHello, change cipher spec, encrypted handshake",
        ),
        (bytes([0x2E, 0, 1, 0, 2]) + b"xx" + bytes([0x2F, 0, 1, 0, 1]) + b"x",
         "DTLS 1.3 epoch 2, 1.3 epoch 3"),
        (bytes([0x23, 0]) + b"the rest", "DTLS 1.3 epoch 3"),
        (b"\x80\x6f" + bytes(20), "SRTP"),
        (b"\x80\xc8" + bytes(20), "SRTCP"),
        (b"\x16\xfe", "DTLS cut"),
        (b"", "unknown"),
        (b"GET /", "unknown"),
    ],
)  # fmt: skip
def test_a_datagram_is_told_by_its_first_bytes(data: bytes, named: str) -> None:
    assert kind(data) == named


def test_nothing_that_a_network_brings_breaks_it() -> None:
    for first in range(256):
        for length in range(40):
            assert kind(bytes([first, *([0xFF] * length)]))
            assert kind(bytes([first, *([0] * length)]))


def test_many_alike_in_a_row_are_one_line_with_the_times_at_both_ends() -> None:
    sound = b"\x80\x6f" + bytes(20)
    packets = [
        Packet(10.0, up=True, data=stun(0x0001)),
        Packet(10.05, up=False, data=sound),
        Packet(10.07, up=False, data=sound),
        Packet(10.08, up=True, data=sound),
    ]
    made = list(lines(packets, 50))
    assert [line.split("(")[0].split() for line in made] == [
        ["0.0", "ms", "client", "→", "STUN", "binding", "request"],
        ["50.0", "ms", "←", "server", "SRTP", "x", "2"],
        ["80.0", "ms", "client", "→", "SRTP"],
    ]
    assert made[1].endswith("(22 B; there 100.0)")
    assert list(lines([], 50)) == []
