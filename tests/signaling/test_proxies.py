"""Whom a request comes from: what trusted proxies say, and nobody else."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from firsthop.signaling.proxies import UNKNOWN, Proxies, TrustedProxies, address_in
from signaling.edge import CALLS, OFFER, Edge, client_of, refusal

LOCAL = ("127.0.0.0/8", "::1/128")
CDN = ("10.0.0.0/8", "2001:db8:cd::/48")


async def seen(
    peer: str | None,
    *headers: tuple[str, str],
    trusted: tuple[str, ...] = LOCAL,
    kind: str = "http",
) -> dict[str, Any]:
    """Return the scope as what comes after the proxies sees it."""
    found: dict[str, Any] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found.update(scope)

    scope = {
        "type": kind,
        "client": None if peer is None else (peer, 50_000),
        "scheme": "http" if kind == "http" else "ws",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
    }

    async def nothing(*_: object) -> Any:
        raise AssertionError

    await Proxies(app, TrustedProxies(trusted))(scope, nothing, nothing)
    return found


async def client(peer: str, *forwarded: str, trusted: tuple[str, ...] = LOCAL) -> tuple[str, bool]:
    headers = (("X-Forwarded-For", value) for value in forwarded)
    scope = await seen(peer, *headers, trusted=trusted)
    return scope["client"][0], scope["state"]["from_trusted_proxy"]


@pytest.mark.parametrize("lie", ["127.0.0.1", "::1", "198.51.100.9", "", "garbage"])
async def test_a_stranger_says_nothing_about_himself(lie: str) -> None:
    assert await client("203.0.113.7", lie) == ("203.0.113.7", False)
    scope = await seen("203.0.113.7", ("X-Forwarded-Proto", "https"))
    assert scope["scheme"] == "http"


async def test_a_trusted_proxy_says_for_whom_it_asks() -> None:
    assert await client("127.0.0.1", "203.0.113.7") == ("203.0.113.7", True)
    assert await client("::1", "2001:db8::7") == ("2001:db8::7", True)
    # As sockets for both families show it.
    assert await client("::ffff:127.0.0.1", "203.0.113.7") == ("203.0.113.7", True)


async def test_a_proxy_that_says_nothing_is_the_client() -> None:
    assert await client("127.0.0.1") == ("127.0.0.1", True)


async def test_what_the_client_wrote_before_the_proxy_does_not_count() -> None:
    assert await client("127.0.0.1", "127.0.0.1, 203.0.113.7") == ("203.0.113.7", True)
    assert await client("127.0.0.1", "127.0.0.1", "203.0.113.7") == ("203.0.113.7", True)
    assert await client("127.0.0.1", "::1,garbage,203.0.113.7") == ("203.0.113.7", True)


async def test_several_trusted_proxies_in_a_row_are_followed() -> None:
    chain = "198.51.100.9, 203.0.113.7, 2001:db8:cd::5, 10.1.2.3"
    assert await client("127.0.0.1", chain, trusted=LOCAL + CDN) == ("203.0.113.7", True)


async def test_if_all_are_trusted_the_farthest_asks() -> None:
    assert await client("127.0.0.1", "10.0.0.9, 10.0.0.8", trusted=LOCAL + CDN) == (
        "10.0.0.9",
        True,
    )
    assert await client("127.0.0.1", "127.0.0.1") == ("127.0.0.1", True)


async def test_another_machines_loopback_is_not_ours() -> None:
    for lie in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "127.9.9.9:80", "10.0.0.9, 127.0.0.1"):
        assert (await client("10.0.0.5", lie, trusted=LOCAL + CDN))[0] == "10.0.0.5"
        assert (await client("10.0.0.5", lie, trusted=CDN))[0] == "10.0.0.5"


@pytest.mark.parametrize(
    "garbage",
    [
        "unknown",
        "203.0.113",
        "203.0.113.7.1",
        "1.2.3.4:port",
        "1.2.3.4:123456",
        "[::1",
        "[]:80",
        "fe80::1%eth0",
        "é",
        "a" * 10_000,
        "_hidden",
        "localhost",
        "0x7f000001",
        "127.1",
        "2130706433",
    ],
)
async def test_who_is_told_in_garbage_is_nobody_and_never_this_machine(garbage: str) -> None:
    address, _ = await client("127.0.0.1", garbage)
    assert address == UNKNOWN


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("203.0.113.7:443", "203.0.113.7"),
        ("[2001:db8::7]:443", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("2001:DB8:0::7", "2001:db8::7"),
        ("[::ffff:203.0.113.7]:1", "203.0.113.7"),
    ],
)
async def test_ports_and_spellings_do_not_matter(text: str, address: str) -> None:
    assert (await client("127.0.0.1", text))[0] == address


async def test_a_chain_without_end_leads_nowhere() -> None:
    assert (await client("127.0.0.1", ", ".join(["127.0.0.1"] * 100)))[0] == UNKNOWN
    assert (await client("127.0.0.1", "," * 100_000))[0] == "127.0.0.1"
    assert (await client("127.0.0.1", "1" * 100_000 + ",203.0.113.7"))[0] == "203.0.113.7"


async def test_a_request_from_nowhere_is_trusted_with_nothing() -> None:
    scope = await seen(None, ("X-Forwarded-For", "127.0.0.1"))
    assert scope["client"] is None
    assert scope["state"]["from_trusted_proxy"] is False


@pytest.mark.parametrize(
    ("kind", "told", "scheme"),
    [
        ("http", ["https"], "https"),
        ("http", ["wss"], "https"),
        ("websocket", ["https"], "wss"),
        ("websocket", ["http"], "ws"),
        ("http", ["gopher"], "http"),
        ("http", ["https", "http"], "http"),
        ("http", ["https, http"], "http"),
    ],
)
async def test_the_scheme_is_the_trusted_proxys(kind: str, told: list[str], scheme: str) -> None:
    headers = [("X-Forwarded-Proto", one) for one in told]
    assert (await seen("127.0.0.1", *headers, kind=kind))["scheme"] == scheme


@given(st.lists(st.text(max_size=60), max_size=5))
def test_whatever_stands_there_is_read(forwarded: list[str]) -> None:
    trusted = TrustedProxies(LOCAL)
    found = trusted.client(ip_address("127.0.0.1"), forwarded)
    assert found is None or address_in(str(found)) == found


@given(st.ip_addresses(), st.lists(st.ip_addresses(), max_size=3))
def test_whoever_a_stranger_names_the_nearest_proxys_word_counts(
    nearest: Any, named: list[Any]
) -> None:
    trusted = TrustedProxies(LOCAL)
    nearest = address_in(str(nearest))
    if nearest is None or nearest.is_loopback:
        return
    chain = ", ".join(map(str, [*named, nearest]))
    assert trusted.client(ip_address("127.0.0.1"), [chain]) == nearest


async def test_without_keys_no_header_makes_a_stranger_local() -> None:
    edge = Edge()
    headers = {
        name: "127.0.0.1"
        for name in ("X-Forwarded-For", "CF-Connecting-IP", "X-Real-IP", "True-Client-IP")
    } | {"Forwarded": "for=127.0.0.1", "CloudFront-Viewer-Address": "127.0.0.1:5"}
    headers["Content-Type"] = "application/sdp"
    stranger = client_of(edge.service, "203.0.113.7")
    response = await stranger.post(CALLS, content=OFFER, headers=headers)
    assert refusal(response, 403)["code"] == "local_only"
    # By a proxy on this machine, which lets all through but the one that it sets itself.
    proxy = client_of(edge.service, "127.0.0.1")
    response = await proxy.post(
        CALLS, content=OFFER, headers=headers | {"X-Forwarded-For": "203.0.113.7"}
    )
    assert refusal(response, 403)["code"] == "local_only"
    response = await proxy.post(CALLS, content=OFFER, headers=headers | {"X-Forwarded-For": "?"})
    assert refusal(response, 403)["code"] == "local_only"
    assert (await proxy.post(CALLS, content=OFFER, headers=headers)).status_code == 201
