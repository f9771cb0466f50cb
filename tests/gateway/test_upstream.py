"""Connections to transceivers by address, whose certificates have the name of the fleet file."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from firsthop.gateway import upstream as module
from firsthop.gateway.upstream import Lost, Unreachable, Upstream
from tls import TlsServer, certificate, listening

NAME = "transceivers.example"
UPGRADE = [(b"host", b"voice.example.com")]


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TlsServer]:
    """A server with a certificate for `NAME`, which the gateway trusts."""
    file = certificate(tmp_path, NAME)
    trusting = ssl.create_default_context(cafile=str(file))
    monkeypatch.setattr(module, "authorities", lambda: trusting)
    async with listening(file) as server:
        yield server


async def test_a_request_to_an_address_expects_the_certificate_of_its_name(
    server: TlsServer,
) -> None:
    url, upstream = f"https://127.0.0.1:{server.port}", Upstream()
    try:
        with pytest.raises(Unreachable):
            await upstream.ask("GET", url + "/readyz", [], b"")
        with pytest.raises(Unreachable):
            await upstream.ask("GET", url + "/readyz", [], b"", "other.example")
        answer = await upstream.ask("GET", url + "/readyz", [], b"", NAME)
        assert answer.status == 204
        assert len(server.asked) == 1
    finally:
        await upstream.close()


async def test_a_websocket_to_an_address_expects_the_certificate_of_its_name(
    server: TlsServer,
) -> None:
    url, upstream = f"https://127.0.0.1:{server.port}", Upstream()
    try:
        with pytest.raises(Lost):
            await upstream.connect(url, "/v1/realtime", UPGRADE, [])
        assert server.asked == []
        # It is no WebSocket; but it was asked.
        with pytest.raises(InvalidStatus):
            await upstream.connect(url, "/v1/realtime", UPGRADE, [], NAME)
        assert b"\r\nHost: voice.example.com\r\n" in server.asked[0]
    finally:
        await upstream.close()
