"""The packets of stand-ins for clients and transceivers. Bytes in, bytes out.

Media looks like SRTP to a relay, which reads its first byte; behind the RTP header it says which
packet it is. Records are read as in ``docs/wire-format.md``, and their MACs are not checked: that
real transceivers do so is for tests.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

PACING_NS = 20_000_000
"""A packet of speech every 20 ms."""

_MEDIA = struct.Struct(">BBHIIHI")
_RTP_VERSION = 0x80
_PAYLOAD_TYPE = 111
#: RTP header, speech at 32 kbit/s, and the tag of SRTP.
_MEDIA_BYTES = 12 + 80 + 10

_STUN = struct.Struct(">HHI12s")
_STUN_COOKIE = 0x2112A442
_BINDING_REQUEST, _BINDING_SUCCESS = 0x0001, 0x0101
_USERNAME = 0x0006

_HOP = struct.Struct(">BBBBHHHH4s")
_HOP_MAGIC = 0xE5
_IPV6_CLIENT, _IPV6_RETURN_HOP = 0x08, 0x04
_LENGTH_AT = 10
#: linux/in.h; Python has no name for it.
_IP_PKTINFO = 8
_MAC_BYTES = 8


@dataclass(frozen=True)
class Record:
    """A client's packet on its way to the owner."""

    client: bytes
    """IPv4 address, four bytes."""
    port: int
    ingress: int
    payload: bytes


def media(call: int, number: int) -> bytes:
    """Return packet `number` of a call."""
    timestamp = number * 960 % 2**32
    header = _MEDIA.pack(_RTP_VERSION, _PAYLOAD_TYPE, number % 2**16, timestamp, call, call, number)
    return header.ljust(_MEDIA_BYTES, b"\xaa")


def which_media(packet: bytes) -> tuple[int, int] | None:
    """Return call and number of a packet of media, None if it is something else."""
    if len(packet) != _MEDIA_BYTES or packet[0] != _RTP_VERSION:
        return None
    *_, call, number = _MEDIA.unpack_from(packet)
    return call, number


def binding_request(ufrag: str, transaction: bytes) -> bytes:
    """Return a binding request to the server that gave out `ufrag` (RFC 8445 §7.2.2).

    Args:
        ufrag: The server's, with the routing token.
        transaction: Twelve bytes.
    """
    username = f"{ufrag}:bnch".encode()
    attribute = struct.pack(">HH", _USERNAME, len(username)) + username
    attribute += bytes(-len(username) % 4)
    return _STUN.pack(_BINDING_REQUEST, len(attribute), _STUN_COOKIE, transaction) + attribute


def binding_answer(request: bytes) -> bytes | None:
    """Return the answer to a binding request, None if the packet is none."""
    if len(request) < _STUN.size or request[0] > 3:
        return None
    kind, _, cookie, transaction = _STUN.unpack_from(request)
    if (kind, cookie) != (_BINDING_REQUEST, _STUN_COOKIE):
        return None
    return _STUN.pack(_BINDING_SUCCESS, 0, cookie, transaction)


def records(datagram: bytes) -> Iterator[Record]:
    """Yield the records of IPv4 clients in a datagram from a relay."""
    at = 0
    while at + _HOP.size + _MAC_BYTES <= len(datagram) and datagram[at] == _HOP_MAGIC:
        _, shape, _, _, _, port, ingress, length, client = _HOP.unpack_from(datagram, at)
        if shape & (_IPV6_CLIENT | _IPV6_RETURN_HOP) or shape & 3:
            return
        begin = at + _HOP.size + _MAC_BYTES
        yield Record(client, port, ingress, datagram[begin : begin + length])
        at = begin + length


def with_payload(header: bytes, payload: bytes) -> bytes:
    """Put a packet behind a header that was sealed for an empty one: its MAC leaves length out."""
    length = len(payload).to_bytes(2, "big")
    return header[:_LENGTH_AT] + length + header[_LENGTH_AT + 2 :] + payload


def source(address: bytes) -> tuple[int, int, bytes]:
    """Return the ancillary data by which a socket sends from `address` (ip(7), IP_PKTINFO)."""
    return socket.IPPROTO_IP, _IP_PKTINFO, struct.pack("i4s4s", 0, address, bytes(4))
