"""What a request is about, as far as the gateway has to know."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop.calls.callid import CallIds
from firsthop.gateway.asked import Asked, by_http, by_websocket

CALL = CallIds({0: bytes(32)}, 0, "10.0.0.1:8080", cluster=7).mint()


@pytest.mark.parametrize(
    ("method", "path", "asked"),
    [
        ("POST", "/whip", Asked(places=True)),
        ("OPTIONS", "/whip", Asked()),
        ("POST", "/v1/realtime", Asked(places=True)),
        ("POST", "/v1/realtime/calls", Asked(places=True)),
        ("GET", "/v1/realtime", Asked()),
        ("POST", "/v1/realtime/client_secrets", Asked()),
        pytest.param("DELETE", f"/whip/{CALL}", Asked(call_id=CALL), id="delete"),
        pytest.param(
            "POST", f"/v1/realtime/calls/{CALL}/hangup", Asked(call_id=CALL), id="hang-up"
        ),
        ("POST", "/api/offer", Asked(places=True, elsewhere=True)),
        ("POST", "/sessions/abc/api/offer", Asked(places=True, elsewhere=True)),
        ("PATCH", "/api/offer", Asked()),
        ("POST", "/start", Asked()),
        ("POST", "/webrtc/offer", Asked(places=True)),
        ("GET", "/", Asked()),
        ("GET", "/demo/page.js", Asked()),
        ("GET", "/demo/../metrics", None),
        ("GET", "/demo/./../metrics", None),
        ("GET", "/metrics", None),
        ("GET", "/whip/a/b", None),
        ("GET", "*", None),
        ("POST", "http://elsewhere.example/whip", None),
    ],
)
def test_a_path_tells_what_a_request_is_about(method: str, path: str, asked: Asked | None) -> None:
    assert by_http(method, path, b"") == asked


def test_a_body_can_name_the_call() -> None:
    body = json.dumps({"pc_id": CALL}).encode()
    asked = by_http("POST", "/api/offer", body)
    assert asked == Asked(call_id=CALL, places=True, elsewhere=True)
    assert asked is not None
    assert asked.cluster == 7
    assert by_http("PATCH", "/sessions/s/api/offer", body) == Asked(call_id=CALL)
    body = json.dumps({"webrtc_id": "abc"}).encode()
    assert by_http("POST", "/webrtc/offer", body) == Asked(places=True, key="abc")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"pc_id": 1}', b'{"pc_id": ""}', b"\xff", b"[" * 90_000]
)
def test_a_body_that_names_none_is_for_the_transceiver_to_refuse(body: bytes) -> None:
    assert by_http("POST", "/api/offer", body) == Asked(places=True, elsewhere=True)


def test_a_websocket_joins_a_call_or_places_one() -> None:
    assert by_websocket("/v1/realtime", [CALL]) == Asked(call_id=CALL)
    assert by_websocket("/v1/realtime", []) == Asked(places=True)
    assert by_websocket("/v1/realtime", ["a", "b"]) == Asked(places=True)
    assert by_websocket("/whip", []) is None


@given(st.text(max_size=40), st.text(max_size=60), st.binary(max_size=60))
def test_whatever_is_asked_is_understood_or_not(method: str, path: str, body: bytes) -> None:
    asked = by_http(method, path, body)
    assert asked is None or asked.cluster is None
