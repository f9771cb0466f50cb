"""Which headers pass through the gateway: the client's own ones, and no word of who it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from firsthop.errors import SignalingError
from firsthop.steering.context import LOCATION_HEADER
from firsthop.steering.steered import INGRESS_HEADER, STEERED_HEADER

Raw = list[tuple[bytes, bytes]]

#: Of all headers of a request, in bytes, and how many they are.
_MAX_BYTES: Final = 32 * 1024
_MAX_HEADERS: Final = 100
#: They are about one connection (RFC 9110 §7.6.1) or made anew for the next.
_OF_CONNECTION: Final = frozenset(
    {b"connection", b"content-length", b"expect", b"keep-alive", b"proxy-authenticate"}
    | {b"proxy-authorization", b"proxy-connection", b"te", b"trailer", b"transfer-encoding"}
    | {b"upgrade"}
)
#: They tell who the client is: read here, and told anew.
_OF_CLIENT: Final = frozenset(
    {b"cdn-loop", b"forwarded", b"true-client-ip", b"via", b"x-client-ip", b"x-real-ip"}
    | {name.lower().encode() for name in (INGRESS_HEADER, LOCATION_HEADER, STEERED_HEADER)}
)
_PREFIXES: Final = (b"cf-", b"cloudfront-", b"firsthop-", b"x-forwarded-")
_OF_SERVER: Final = frozenset({b"date", b"server"})


def check(headers: Raw) -> None:
    """Refuse a request with more headers than any client needs.

    Raises:
        SignalingError: 431.
    """
    size = sum(len(name) + len(value) for name, value in headers)
    if size > _MAX_BYTES or len(headers) > _MAX_HEADERS:
        message = f"at most {_MAX_HEADERS} headers of {_MAX_BYTES} bytes in all are read"
        raise SignalingError(message, status=431, code="headers_too_large")


def onward(headers: Raw, told: Mapping[str, str]) -> Raw:
    """Return a request's headers for the transceiver, and what the gateway tells it."""
    dropped = _OF_CLIENT | _named_by_connection(headers)
    kept = [
        (name, value)
        for name, value in _lower(headers)
        if name not in dropped and name not in _OF_CONNECTION and not name.startswith(_PREFIXES)
    ]
    return kept + [(name.lower().encode(), value.encode()) for name, value in told.items()]


def back(headers: Raw) -> Raw:
    """Return an answer's headers for the client."""
    dropped = _OF_CONNECTION | _OF_SERVER | _named_by_connection(headers)
    return [(name, value) for name, value in _lower(headers) if name not in dropped]


def _lower(headers: Raw) -> Iterable[tuple[bytes, bytes]]:
    return ((name.lower(), value) for name, value in headers)


def _named_by_connection(headers: Raw) -> frozenset[bytes]:
    values = (value for name, value in _lower(headers) if name == b"connection")
    return frozenset(name.strip().lower() for value in values for name in value.split(b","))
