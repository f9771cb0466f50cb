"""As much of TURN (RFC 8656) as it takes to have a TURN server forward packets: allocate, bind.

The messages are plain functions of bytes. `allocate` runs them for many clients at once, each with
an address of its own on one socket.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from firsthop.bench.datagrams import Endpoint
from firsthop.bench.errors import BenchError
from firsthop.bench.trace import client_address

#: Every client's only channel (RFC 8656 §12: 0x4000 to 0x4FFF).
CHANNEL = 0x4000

_COOKIE = 0x2112A442
_HEADER = struct.Struct(">HHI12s")
_ATTRIBUTE = struct.Struct(">HH")
_ALLOCATE, _CHANNEL_BIND = 0x0003, 0x0009
_SUCCESS = 0x0100
_CHANNEL_NUMBER, _LIFETIME, _REQUESTED_TRANSPORT = 0x000C, 0x000D, 0x0019
_XOR_PEER_ADDRESS, _XOR_RELAYED_ADDRESS = 0x0012, 0x0016
_FAMILY_IPV4 = 1
_UDP = 17
#: ip(7); the socket module does not have it on every version.
_IP_PKTINFO = 8
_LIFETIME_SECONDS = 3600

#: Requests on the way at a time, how often they are sent again, and after how long.
_WINDOW = 50
_TRIES = 8
_RETRY_SECONDS = 0.5


@dataclass(frozen=True)
class Response:
    """An answer of the server."""

    transaction: bytes
    success: bool
    attributes: Mapping[int, bytes]

    def relayed(self) -> Endpoint:
        """Return XOR-RELAYED-ADDRESS: where the allocation receives.

        Raises:
            BenchError: There is none.
        """
        value = self.attributes.get(_XOR_RELAYED_ADDRESS)
        if value is None:
            raise BenchError("the TURN server allocated no address")
        return _xor_address(value)


def allocate_request(transaction: bytes) -> bytes:
    """Ask for a relayed address for UDP."""
    transport = struct.pack(">B3x", _UDP)
    lifetime = struct.pack(">I", _LIFETIME_SECONDS)
    return _request(_ALLOCATE, transaction, {_REQUESTED_TRANSPORT: transport, _LIFETIME: lifetime})


def channel_bind_request(transaction: bytes, peer: Endpoint) -> bytes:
    """Ask that `CHANNEL` be short for `peer`; this lets the peer send as well."""
    number = struct.pack(">H2x", CHANNEL)
    address = _xored(peer)
    return _request(
        _CHANNEL_BIND, transaction, {_CHANNEL_NUMBER: number, _XOR_PEER_ADDRESS: address}
    )


def channel_data(payload: bytes) -> bytes:
    """Put a ChannelData header before a packet (RFC 8656 §12.4); over UDP nothing is padded."""
    return struct.pack(">HH", CHANNEL, len(payload)) + payload


def parse(message: bytes) -> Response:
    """Read a response.

    Raises:
        BenchError: It is not a STUN message.
    """
    if len(message) < _HEADER.size:
        raise BenchError("the TURN server answered with something short")
    kind, length, cookie, transaction = _HEADER.unpack_from(message)
    if cookie != _COOKIE or length != len(message) - _HEADER.size:
        raise BenchError("the TURN server answered with something that is not STUN")
    attributes = {}
    at = _HEADER.size
    while at + _ATTRIBUTE.size <= len(message):
        name, size = _ATTRIBUTE.unpack_from(message, at)
        at += _ATTRIBUTE.size
        attributes[name] = message[at : at + size]
        # Values are padded to four bytes (RFC 8489 §14).
        at += size + -size % 4
    return Response(transaction, kind & 0x0110 == _SUCCESS, attributes)


def allocate(
    server: Endpoint, peer: Endpoint, *, clients: int, client_port: int
) -> dict[int, Endpoint]:
    """Allocate for each client, bind `CHANNEL` to `peer`, and return where each can be reached.

    Raises:
        BenchError: The server refuses, or does not answer.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", client_port))
        sock.settimeout(_RETRY_SECONDS)
        to = (socket.inet_ntoa(server.ip), server.port)
        allocated = _ask_for_all(sock, to, clients, allocate_request)
        _ask_for_all(sock, to, clients, lambda id_: channel_bind_request(b"bind" + id_[4:], peer))
    return {client: response.relayed() for client, response in allocated.items()}


def _ask_for_all(
    sock: socket.socket, to: tuple[str, int], clients: int, request: Callable[[bytes], bytes]
) -> dict[int, Response]:
    """Send every client's request, some at a time, until all are answered."""
    answered: dict[int, Response] = {}
    for first in range(0, clients, _WINDOW):
        waiting = set(range(first, min(first + _WINDOW, clients)))
        for _ in range(_TRIES):
            for client in waiting:
                transaction = client.to_bytes(12, "big")
                # From the client's own address: struct in_pktinfo names it (ip(7)).
                source = struct.pack("=i4s4x", 0, client_address(client))
                control = [(socket.IPPROTO_IP, _IP_PKTINFO, source)]
                sock.sendmsg([request(transaction)], control, 0, to)
            _collect(sock, waiting, answered)
            if not waiting:
                break
        else:
            raise BenchError("the TURN server does not answer")
    return answered


def _collect(sock: socket.socket, waiting: set[int], answered: dict[int, Response]) -> None:
    """Take answers until all are there or none came for a while."""
    deadline = time.monotonic() + _RETRY_SECONDS
    while waiting and time.monotonic() < deadline:
        try:
            response = parse(sock.recv(2048))
        except TimeoutError:
            return
        except ConnectionRefusedError:
            # Not up yet: ask again.
            time.sleep(_RETRY_SECONDS)
            return
        client = int.from_bytes(response.transaction[4:], "big")
        if not response.success:
            raise BenchError("the TURN server refuses a request")
        if client in waiting:
            waiting.remove(client)
            answered[client] = response


def _request(method: int, transaction: bytes, attributes: Mapping[int, bytes]) -> bytes:
    body = b"".join(_ATTRIBUTE.pack(name, len(value)) + value for name, value in attributes.items())
    return _HEADER.pack(method, len(body), _COOKIE, transaction) + body


def _xored(address: Endpoint) -> bytes:
    """Encode an address as XOR-...-ADDRESS attributes do (RFC 8489 §14.2)."""
    port = address.port ^ _COOKIE >> 16
    ip = int.from_bytes(address.ip, "big") ^ _COOKIE
    return struct.pack(">xBHI", _FAMILY_IPV4, port, ip)


def _xor_address(value: bytes) -> Endpoint:
    """Decode an XOR-...-ADDRESS attribute."""
    if len(value) != 8 or value[1] != _FAMILY_IPV4:
        raise BenchError("the TURN server names an address that is not IPv4")
    port, ip = struct.unpack(">HI", value[2:])
    return Endpoint((ip ^ _COOKIE).to_bytes(4, "big"), port ^ _COOKIE >> 16)
