"""Which pages may ask, before anything happens."""

from __future__ import annotations

import pytest

from signaling.edge import API_KEY, BEARER, CALL, CALLS, Edge, client_of, refusal

HANG_UP = f"{CALLS}/{CALL}/hangup"


async def status(edge: Edge, host: str, origin: str | None) -> int:
    headers = BEARER if origin is None else BEARER | {"Origin": origin}
    response = await client_of(edge.service, host=host).post(HANG_UP, headers=headers)
    assert len(edge.calls.hung_up) == (response.status_code == 200)
    if response.status_code != 200:
        error = refusal(response, 403)
        assert error["code"] == "origin_not_allowed"
        assert "signaling.allowed_origins" in error["message"]
    return response.status_code


@pytest.mark.parametrize(
    ("host", "origin", "expected"),
    [
        ("edge.example", None, 200),
        ("edge.example", "http://edge.example", 200),
        ("edge.example", "http://EDGE.example", 200),
        ("edge.example", "https://edge.example", 200),
        ("edge.example:8080", "http://edge.example:8080", 200),
        ("edge.example", "http://edge.example:8080", 403),
        ("edge.example:8080", "http://edge.example", 403),
        ("edge.example", "http://edge.example.evil.example", 403),
        ("edge.example", "http://user@edge.example", 403),
        ("edge.example", "ftp://edge.example", 403),
        ("edge.example", "https://evil.example", 403),
        ("edge.example", "null", 403),
        ("edge.example", "", 403),
        ("edge.example", "//edge.example", 403),
        ("edge.example", "http://[", 403),
        ("edge.example", "https://app.example", 200),
        ("edge.example", "https://APP.example", 403),
        ("edge.example", "http://app.example", 403),
    ],
)
async def test_a_page_may_ask_its_own_server_and_those_that_allow_it(
    host: str, origin: str | None, expected: int
) -> None:
    edge = Edge(api_keys=[API_KEY], allowed_origins=["https://app.example"])
    assert await status(edge, host, origin) == expected


@pytest.mark.parametrize("origin", ["null", "https://evil.example", "http://localhost:3000"])
async def test_a_star_allows_every_page(origin: str) -> None:
    edge = Edge(api_keys=[API_KEY], allowed_origins=["*"])
    assert await status(edge, "edge.example", origin) == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost:8080", 200),
        ("127.0.0.1:8080", 200),
        ("[::1]:8080", 200),
        ("app.localhost", 200),
        ("rebound.example:8080", 403),
        ("localhost.evil.example", 403),
        ("10.0.0.5:8080", 403),
    ],
)
async def test_without_keys_our_own_origin_names_this_machine(host: str, expected: int) -> None:
    """Else a page elsewhere could give its own name our address (DNS rebinding)."""
    assert await status(Edge(), host, f"http://{host}") == expected


async def test_without_keys_an_origin_can_be_allowed_still() -> None:
    edge = Edge(allowed_origins=["https://app.example"])
    assert await status(edge, "rebound.example", "https://app.example") == 200


async def test_a_second_origin_or_host_changes_nothing() -> None:
    edge = Edge(api_keys=[API_KEY])
    for more in (
        [("Origin", "http://edge.example"), ("Origin", "https://evil.example")],
        [("Origin", "http://edge.example"), ("Host", "evil.example")],
    ):
        response = await edge.client.post(HANG_UP, headers=[*BEARER.items(), *more])
        refusal(response, 403)
    assert edge.calls.hung_up == []


async def test_preflights_are_answered_without_a_credential() -> None:
    edge = Edge(api_keys=[API_KEY], allowed_origins=["https://app.example"])
    asked = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, openai-safety-identifier",
    }
    response = await edge.client.options(CALLS, headers=asked)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "https://app.example"


async def test_an_allowed_page_can_read_why_it_was_not_let_in() -> None:
    edge = Edge(api_keys=[API_KEY], allowed_origins=["https://app.example"])
    response = await edge.client.post(HANG_UP, headers={"Origin": "https://app.example"})
    refusal(response, 401)
    assert response.headers["access-control-allow-origin"] == "https://app.example"
