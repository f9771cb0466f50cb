"""Connections to transceivers by address, whose certificates have the name of the fleet file."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from websockets.exceptions import InvalidStatus

from firsthop.gateway import upstream as module
from firsthop.gateway.upstream import Lost, Unreachable, Upstream

NAME = "transceivers.example"
ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"
UPGRADE = [(b"host", b"voice.example.com")]


@dataclass
class Server:
    """A TLS server whose certificate has one name."""

    url: str
    asked: list[bytes]


def certificate(folder: Path) -> Path:
    """Make a key and a certificate for `NAME` that signs itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[tuple[Server, ssl.SSLContext]]:
    """A server, and who trusts it."""
    file = certificate(tmp_path)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(file)
    trusting = ssl.create_default_context(cafile=str(file))
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(ANSWER)
            await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=serving)
    port = listening.sockets[0].getsockname()[1]
    yield Server(f"https://127.0.0.1:{port}", asked), trusting
    listening.close()


async def test_a_request_to_an_address_expects_the_certificate_of_its_name(
    server: tuple[Server, ssl.SSLContext],
) -> None:
    there, trusting = server
    upstream = Upstream()
    await upstream._transport.aclose()
    upstream._transport = httpx.AsyncHTTPTransport(verify=trusting, trust_env=False)
    try:
        with pytest.raises(Unreachable):
            await upstream.ask("GET", there.url + "/readyz", [], b"")
        with pytest.raises(Unreachable):
            await upstream.ask("GET", there.url + "/readyz", [], b"", "other.example")
        answer = await upstream.ask("GET", there.url + "/readyz", [], b"", NAME)
        assert answer.status == 204
        assert len(there.asked) == 1
    finally:
        await upstream.close()


async def test_a_websocket_to_an_address_expects_the_certificate_of_its_name(
    server: tuple[Server, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    there, trusting = server
    monkeypatch.setattr(module, "_tls", lambda: trusting)
    upstream = Upstream()
    try:
        with pytest.raises(Lost):
            await upstream.connect(there.url, "/v1/realtime", UPGRADE, [])
        assert there.asked == []
        # It is no WebSocket; but it was asked.
        with pytest.raises(InvalidStatus):
            await upstream.connect(there.url, "/v1/realtime", UPGRADE, [], NAME)
        assert b"\r\nHost: voice.example.com\r\n" in there.asked[0]
    finally:
        await upstream.close()
