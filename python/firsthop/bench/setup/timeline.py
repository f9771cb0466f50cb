"""A call as the proxy saw it: what each datagram is, and when its sender sent it."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from firsthop.bench.impairment import Packet

_STUN_COOKIE: Final = b"\x21\x12\xa4\x42"
_STUN_KINDS: Final = {
    0x0001: "STUN binding request",
    0x0101: "STUN binding response",
    0x0111: "STUN binding error",
    0x0011: "STUN binding indication",
}
_USE_CANDIDATE: Final = 0x0025
#: Attributes of a first DTLS flight that travels in STUN (SPED).
_EMBEDDED_DTLS: Final = 0xC070
_RECORDS: Final = {
    20: "change cipher spec",
    21: "alert",
    22: "handshake",
    23: "data",
    25: "CID record",
    26: "ACK",
}
_HANDSHAKES: Final = {
    1: "ClientHello",
    2: "ServerHello",
    3: "HelloVerifyRequest",
    4: "NewSessionTicket",
    11: "Certificate",
    12: "ServerKeyExchange",
    13: "CertificateRequest",
    14: "ServerHelloDone",
    15: "CertificateVerify",
    16: "ClientKeyExchange",
    20: "Finished",
}
_RECORD_BYTES: Final = 13


def kind(data: bytes) -> str:
    """Say what a datagram of a call is, by its first byte (RFC 7983) and what can be read."""
    first = data[0] if data else 255
    if first < 4 and data[4:8] == _STUN_COOKIE:
        return _stun(data)
    if 20 <= first < 64:
        return "DTLS " + ", ".join(_records(data))
    if 128 <= first < 192:
        # RTCP's packet types take the place of marker and payload type (RFC 5761).
        return "SRTCP" if len(data) > 1 and 192 <= data[1] < 224 else "SRTP"
    return "unknown"


def lines(packets: Sequence[Packet], delay_ms: float) -> Iterator[str]:
    """Yield a line for each datagram, but one for many alike in a row.

    Args:
        packets: As the proxy took them; its clock begins with the first.
        delay_ms: How long a packet is on its way in each direction: a client's takes that from
            where it is seen to the server, a server's to the client.
    """
    if not packets:
        return
    start = packets[0].at_s
    for (up, what), alike in groupby(packets, key=lambda one: (one.up, kind(one.data))):
        group = list(alike)
        sent = (group[0].at_s - start) * 1000
        many = f" x {len(group)}" if len(group) > 1 else ""
        way = "client →" if up else "        ← server"
        size = len(group[0].data)
        yield f"{sent:8.1f} ms  {way:16}  {what}{many} ({size} B; there {sent + delay_ms:.1f})"


def _stun(data: bytes) -> str:
    message = struct.unpack_from(">H", data)[0]
    attributes = set(_attributes(data))
    added = [" USE-CANDIDATE"] if _USE_CANDIDATE in attributes else []
    added += [" with DTLS"] if _EMBEDDED_DTLS in attributes else []
    return _STUN_KINDS.get(message, f"STUN {message:#06x}") + "".join(added)


def _attributes(data: bytes) -> Iterator[int]:
    at = 20
    while at + 4 <= len(data):
        attribute, length = struct.unpack_from(">HH", data, at)
        yield attribute
        at += 4 + (length + 3) // 4 * 4


def _records(data: bytes) -> Iterator[str]:
    """Yield what the records of a datagram are (RFC 6347 section 4.1, RFC 9147 section 4)."""
    at = 0
    while at < len(data):
        first = data[at]
        if first & 0xE0 == 0x20:
            # DTLS 1.3's header of encrypted records; without a length it is the last one.
            length_at = at + 1 + (2 if first & 0x08 else 1)
            length = len(data) - length_at
            if first & 0x04 and length_at + 2 <= len(data):
                length = struct.unpack_from(">H", data, length_at)[0] + 2
            at = length_at + length
            yield f"1.3 epoch {first & 3}"
            continue
        if at + _RECORD_BYTES > len(data):
            yield "cut"
            return
        epoch, length = (
            *struct.unpack_from(">H", data, at + 3),
            *struct.unpack_from(">H", data, at + 11),
        )
        body = data[at + _RECORD_BYTES : at + _RECORD_BYTES + length]
        name = _RECORDS.get(first, str(first))
        if epoch:
            name = f"encrypted {name}"
        elif first == 22 and len(body) >= 12:
            name = _handshake(body)
        yield name
        at += _RECORD_BYTES + length


def _handshake(body: bytes) -> str:
    name = _HANDSHAKES.get(body[0], f"handshake {body[0]}")
    length, offset, piece = (int.from_bytes(body[at : at + 3]) for at in (1, 6, 9))
    return name if piece == length else f"{name} [{offset}-{offset + piece} of {length}]"
