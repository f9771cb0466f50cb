"""What exceptions of a connection mean."""

from __future__ import annotations

import ssl

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import (
    ConnectionClosedError,
    ConnectionClosedOK,
    InvalidHandshake,
    InvalidMessage,
    InvalidProxyStatus,
    InvalidStatus,
    InvalidURI,
)
from websockets.frames import Close
from websockets.http11 import Response

from firsthop.backends import failure
from firsthop.backends.failure import Failure


def status(code: int) -> InvalidStatus:
    return InvalidStatus(_response(code))


def _response(code: int) -> Response:
    return Response(code, "", Headers())


def cut_off() -> InvalidMessage:
    error = InvalidMessage("did not receive a valid HTTP response")
    error.__cause__ = EOFError()
    return error


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (status(400), failure.REFUSED),
        (status(401), failure.UNAUTHORIZED),
        (status(403), failure.UNAUTHORIZED),
        (status(404), failure.NOT_FOUND),
        (status(408), failure.TIMEOUT),
        (status(429), failure.RATE_LIMITED),
        (status(500), failure.SERVER_ERROR),
        (status(529), failure.SERVER_ERROR),
        (status(200), failure.REFUSED),
        (TimeoutError(), failure.TIMEOUT),
        (ssl.SSLCertVerificationError(), failure.TLS),
        (ssl.SSLError(), failure.TLS),
        (ConnectionRefusedError(), failure.UNREACHABLE),
        (cut_off(), failure.UNREACHABLE),
        (InvalidProxyStatus(_response(407)), failure.UNREACHABLE),
        (InvalidHandshake(), failure.PROTOCOL),
        (InvalidURI("x", "y"), failure.REFUSED),
        (RuntimeError(), failure.UNREACHABLE),
    ],
    ids=lambda value: value.reason if isinstance(value, Failure) else type(value).__name__,
)
def test_a_handshake_that_fails_has_a_reason(error: Exception, why: Failure) -> None:
    assert failure.while_opening(error) is why


@pytest.mark.parametrize(
    ("received", "sent", "received_first", "why"),
    [
        (1000, 1000, True, failure.CLOSED),
        (1001, 1001, True, failure.CLOSED),
        (1011, 1011, True, failure.CLOSED),
        (4001, 4001, True, failure.CLOSED),
        (None, None, None, failure.LOST),
        (None, 1011, None, failure.STALLED),
        (None, 1009, None, failure.GARBAGE),
        (1009, 1009, False, failure.GARBAGE),
        (None, 1007, None, failure.GARBAGE),
    ],
)
def test_a_connection_that_ends_has_a_reason(
    received: int | None, sent: int | None, received_first: bool | None, why: Failure
) -> None:
    kind = ConnectionClosedOK if received in (1000, 1001) else ConnectionClosedError
    error = kind(
        None if received is None else Close(received, ""),
        None if sent is None else Close(sent, ""),
        received_first,
    )
    assert failure.while_open(error, greeted=True) is why


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (1008, failure.REFUSED),
        (3000, failure.UNAUTHORIZED),
        (3003, failure.UNAUTHORIZED),
        (4000, failure.REFUSED),
        (1011, failure.CLOSED),
    ],
)
def test_a_close_instead_of_a_greeting_is_a_refusal(code: int, why: Failure) -> None:
    error = ConnectionClosedError(Close(code, ""), Close(code, ""), True)
    assert failure.while_open(error, greeted=False) is why


def test_what_is_told_names_no_reason_of_the_machine() -> None:
    failures = [value for value in vars(failure).values() if isinstance(value, Failure)]
    assert len({one.reason for one in failures}) == len(failures) == 13
    assert {one.code for one in failures} == {
        "backend_unreachable",
        "backend_refused",
        "backend_closed",
        "backend_garbage",
    }
