"""Whose certificates are trusted, by all that connects."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from firsthop.agent.endpoints.endpoint import Endpoint
from firsthop.agent.tools.mcp.server import McpServer
from firsthop.authorities import authorities
from firsthop.backends.websocket import ConnectionFailed, open_socket
from firsthop.config import ChatSettings, McpServerSettings
from firsthop.fleet.model import Fleet, FleetCluster, Location
from firsthop.fleet.probes import Probes
from firsthop.gateway.upstream import Lost, Unreachable, Upstream
from tls import certificate, listening

NAME = "localhost"
VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def _anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    authorities.cache_clear()
    yield
    authorities.cache_clear()


def subjects(context: ssl.SSLContext) -> set[object]:
    """Who is trusted, as far as files say."""
    return {found["subject"] for found in context.get_ca_certs()}


def test_one_context_checks_certificates_and_names_for_all() -> None:
    context = authorities()
    assert context is authorities()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_the_systems_authorities_are_trusted_and_those_of_browsers() -> None:
    trusted = subjects(authorities())
    assert trusted
    assert trusted >= subjects(httpx.create_ssl_context(trust_env=False))
    assert trusted >= subjects(ssl.create_default_context())


@pytest.mark.parametrize("variable", VARIABLES)
def test_where_variables_say_whose_those_of_browsers_do_not_come_along(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = certificate(tmp_path, "mine.example")
    monkeypatch.setenv(variable, str(file if variable == "SSL_CERT_FILE" else tmp_path))
    assert subjects(authorities()) == subjects(ssl.create_default_context())


async def gateway(url: str) -> None:
    upstream = Upstream()
    with suppress(Unreachable):
        await upstream.ask("GET", by_address(url), [], b"", NAME)
    await upstream.close()


async def gateway_by_websocket(url: str) -> None:
    with pytest.raises((InvalidStatus, Lost)):
        await Upstream().connect(by_address(url), "/v1/realtime", [], [], NAME)


def by_address(url: str) -> str:
    """The same place; gateways have resolved names."""
    return url.replace(NAME, "127.0.0.1")


async def probes(url: str) -> None:
    cluster = FleetCluster(
        id=1,
        name="here",
        location=Location(50.1, 8.7),
        networks=("10.0.0.0/8",),
        signaling=(url,),
    )
    asking = Probes()
    try:
        await asking.round(Fleet(clusters=(cluster,)))
    finally:
        await asking.close()


async def backend(url: str) -> None:
    with pytest.raises(ConnectionFailed):
        await open_socket(
            url.replace("https:", "wss:"),
            headers={},
            connect_timeout_seconds=5,
            silence_timeout_seconds=5,
            max_bytes=1000,
        )


async def endpoint(url: str) -> None:
    stage = Endpoint("chat", ChatSettings(url=url))
    await stage.prepare()
    await stage.close()


async def tools(url: str) -> None:
    server = McpServer("there", McpServerSettings(url=url), lambda: None)
    await server.prepare()
    await server.close()


CONNECTING = (gateway, gateway_by_websocket, probes, backend, endpoint, tools)


@pytest.mark.parametrize("connect", CONNECTING)
async def test_what_variables_name_is_trusted_by_all_that_connects(
    connect: Callable[[str], Awaitable[None]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)
    file = certificate(tmp_path, NAME)
    async with listening(file) as server:
        url = f"https://{NAME}:{server.port}"
        await connect(url)
        assert server.asked == []
        authorities.cache_clear()
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        await connect(url)
        assert server.asked
