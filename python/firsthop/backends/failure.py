"""What can become of a connection to a server: a closed set of reasons, for metrics and clients."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Final

from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    InvalidURI,
    ProxyError,
)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no connection. It holds nothing that a stranger may not know."""

    reason: str
    """A word for metrics and logs."""
    code: str
    """A word for clients."""
    message: str
    """For users."""
    lasting: bool = False
    """Whether trying again would end the same way."""


def _unreachable(reason: str, *, lasting: bool = False) -> Failure:
    message = "the model's server cannot be reached"
    return Failure(reason, "backend_unreachable", message, lasting)


def _refused(reason: str, why: str, *, lasting: bool = True) -> Failure:
    message = f"the model's server refuses this call: {why}"
    return Failure(reason, "backend_refused", message, lasting)


def _closed(reason: str, what: str) -> Failure:
    return Failure(reason, "backend_closed", f"the model's server {what}")


UNREACHABLE: Final = _unreachable("unreachable")
TIMEOUT: Final = _unreachable("timeout")
TLS: Final = _unreachable("tls", lasting=True)
SERVER_ERROR: Final = _unreachable("server_error")
PROTOCOL: Final = _unreachable("protocol", lasting=True)
UNAUTHORIZED: Final = _refused("unauthorized", "firsthop's key for it is wrong")
NOT_FOUND: Final = _refused("not_found", "there is no such model, or no such address")
RATE_LIMITED: Final = _refused("rate_limited", "it has too much to do", lasting=False)
REFUSED: Final = _refused("refused", "it does not like the request")
CLOSED: Final = _closed("closed", "ended the connection")
LOST: Final = _closed("lost", "is gone")
STALLED: Final = _closed("stalled", "does not answer any more")
GARBAGE: Final = Failure(
    "garbage", "backend_garbage", "the model's server does not keep to the protocol"
)

_STATUSES: Final = {
    401: UNAUTHORIZED,
    403: UNAUTHORIZED,
    404: NOT_FOUND,
    408: TIMEOUT,
    425: RATE_LIMITED,
    429: RATE_LIMITED,
}
#: Close codes (RFC 6455 §7.4.1) that we send: when pings go unanswered, and over what came in.
_STALLED_CODE: Final = 1011
_GARBAGE_CODES: Final = frozenset({1002, 1003, 1007, 1009})
#: Those by which servers refuse what they find out only after the handshake.
_REFUSALS: Final = {1008: REFUSED, 3000: UNAUTHORIZED, 3003: UNAUTHORIZED}


def while_opening(error: Exception) -> Failure:
    """Return what an exception of the handshake means."""
    match error:
        case InvalidStatus():
            status = error.response.status_code
            if status >= 500:
                return SERVER_ERROR
            return _STATUSES.get(status, REFUSED)
        case TimeoutError():
            return TIMEOUT
        case ssl.SSLError():
            return TLS
        case ProxyError():
            return UNREACHABLE
        case InvalidURI():
            return REFUSED
        case InvalidHandshake() if not isinstance(error.__cause__, EOFError):
            return PROTOCOL
        case _:
            return UNREACHABLE


def while_open(error: ConnectionClosed, *, greeted: bool) -> Failure:
    """Return what the end of a connection means.

    Args:
        error: How it ended.
        greeted: Whether the server had said anything but errors: else the end is its answer.
    """
    if error.rcvd is not None and not (error.sent is not None and error.rcvd_then_sent is False):
        if not greeted and error.rcvd.code in _REFUSALS:
            return _REFUSALS[error.rcvd.code]
        if not greeted and 4000 <= error.rcvd.code < 5000:
            return REFUSED
        return CLOSED
    if error.sent is not None and error.sent.code in _GARBAGE_CODES:
        return GARBAGE
    if error.sent is not None and error.sent.code == _STALLED_CODE:
        return STALLED
    return LOST
