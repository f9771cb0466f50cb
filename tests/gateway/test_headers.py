"""Which headers pass through the gateway."""

from __future__ import annotations

import pytest

from firsthop.errors import SignalingError
from firsthop.gateway import headers


def raw(*lines: str) -> headers.Raw:
    pairs = (line.split(": ", 1) for line in lines)
    return [(name.encode(), value.encode()) for name, value in pairs]


def test_what_a_client_sends_goes_on() -> None:
    sent = raw("host: voice.example", "authorization: Bearer x", "origin: https://a", "if-match: 1")
    assert headers.onward(sent, {}) == sent


@pytest.mark.parametrize(
    "line",
    [
        "X-Forwarded-For: 127.0.0.1",
        "x-forwarded-host: a",
        "Forwarded: for=127.0.0.1",
        "CF-Ray: 1-FRA",
        "CF-Connecting-IP: 127.0.0.1",
        "CloudFront-Viewer-Latitude: 1",
        "Firsthop-Ingress: 1",
        "Firsthop-Location: 1,1",
        "Firsthop-Forwarded: 1",
        "X-Real-IP: ::1",
        "Connection: keep-alive",
        "Transfer-Encoding: chunked",
        "Content-Length: 5",
        "TE: trailers",
        "Upgrade: websocket",
        "Expect: 100-continue",
        "Proxy-Authorization: x",
        "Via: 1.1 a",
    ],
)
def test_what_is_about_the_connection_or_tells_who_the_client_is_does_not(line: str) -> None:
    assert headers.onward(raw(line, "accept: a"), {}) == raw("accept: a")


def test_what_the_gateway_tells_is_there_once() -> None:
    sent = raw("X-Forwarded-For: 127.0.0.1", "x-forwarded-for: ::1")
    told = headers.onward(sent, {"X-Forwarded-For": "203.0.113.7"})
    assert told == raw("x-forwarded-for: 203.0.113.7")


def test_what_a_connection_names_as_its_own_stays_behind() -> None:
    sent = raw("Connection: close, X-Mine", "connection: x-other", "X-Mine: 1", "X-Other: 1")
    assert headers.onward([*sent, *raw("accept: a")], {}) == raw("accept: a")
    assert headers.back([*sent, *raw("etag: a")]) == raw("etag: a")


def test_an_answer_comes_back_as_it_was() -> None:
    answer = raw("location: /whip/1", "vary: a", "vary: b", "retry-after: 1", "link: x")
    lost = raw("Date: now", "Server: x", "Content-Length: 1", "Keep-Alive: 5")
    assert headers.back([*answer, *lost]) == answer


def test_headers_are_bounded() -> None:
    headers.check(raw("authorization: " + "x" * 8000))
    for many in (raw(*["a: b"] * 101), raw("a: " + "x" * 33_000)):
        with pytest.raises(SignalingError) as error:
            headers.check(many)
        assert error.value.status == 431
