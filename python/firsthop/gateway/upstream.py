"""Requests on their way to transceivers: each is sent once, and the outcome is one of four.

It was answered; it never arrived (`Unreachable`), so another transceiver may be asked; or it may
have arrived (`Lost`, `Late`), and nobody else is.
"""

from __future__ import annotations

import asyncio
import re
import socket
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import websockets
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI

from firsthop.authorities import authorities
from firsthop.gateway.headers import Raw
from firsthop.signaling.socketend import MAX_AUDIO_MESSAGE

_CONNECT_SECONDS: Final = 1.0
_ANSWER_SECONDS: Final = 10.0
_CLOSE_SECONDS: Final = 1.0
#: Of an answer, in bytes: answers of signaling and files of the demo page are smaller.
_MAX_ANSWER: Final = 1024 * 1024
#: Transceivers keep a connection for 5 s that nobody uses. We let go before they do.
_LIMITS: Final = httpx.Limits(
    max_connections=1000, max_keepalive_connections=200, keepalive_expiry=2.0
)
#: A Host that can stand in a URL.
_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")
#: websockets makes these itself.
_HANDSHAKE: Final = frozenset(
    {b"host", b"sec-websocket-extensions", b"sec-websocket-key", b"sec-websocket-protocol"}
    | {b"sec-websocket-version"}
)


class Unreachable(Exception):
    """The request was not sent."""


class Lost(Exception):
    """The request was sent, perhaps in part, and no answer came."""


class Late(Exception):
    """The request was sent, and no answer came in time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a transceiver answers."""

    status: int
    headers: Raw
    body: bytes


class Upstream:
    """Connections to transceivers."""

    def __init__(self) -> None:
        # A transport and not a client: it adds no headers and follows nothing.
        self._transport = httpx.AsyncHTTPTransport(
            limits=_LIMITS, trust_env=False, verify=authorities()
        )

    async def close(self) -> None:
        """Let go of all connections."""
        await self._transport.aclose()

    async def ask(
        self, method: str, url: str, headers: Raw, body: bytes, name: str | None = None
    ) -> Answer:
        """Send one request by HTTP, once.

        Args:
            method: As POST.
            url: All of it.
            headers: Of the client's request, as they go on.
            body: All of it.
            name: Whose certificate is expected, if not that of the URL's host.

        Raises:
            Unreachable: It was not sent.
            Lost: It may have been.
            Late: So may it, and there is no answer in time.
        """
        timeout = {"connect": _CONNECT_SECONDS, "pool": _CONNECT_SECONDS}
        timeout |= {"read": _ANSWER_SECONDS, "write": _ANSWER_SECONDS}
        extensions: dict[str, Any] = {"timeout": timeout}
        if name is not None:
            extensions["sni_hostname"] = name
        try:
            request = httpx.Request(
                method, url, headers=headers, content=body, extensions=extensions
            )
            async with asyncio.timeout(_CONNECT_SECONDS + _ANSWER_SECONDS):
                response = await self._transport.handle_async_request(request)
                try:
                    return Answer(response.status_code, response.headers.raw, await _read(response))
                finally:
                    await response.aclose()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            raise Unreachable from None
        except (httpx.TimeoutException, TimeoutError):
            raise Late from None
        except (httpx.HTTPError, httpx.InvalidURL):
            raise Lost from None

    async def connect(
        self,
        url: str,
        target: str,
        headers: Raw,
        subprotocols: list[str],
        name: str | None = None,
    ) -> ClientConnection:
        """Open a WebSocket, once.

        Args:
            url: Of the transceiver's signaling, as http://10.1.0.10:8080.
            target: Path and query.
            headers: Of the client's handshake, as they go on.
            subprotocols: That the client offers.
            name: Whose certificate is expected, if not that of the URL's host.

        Raises:
            InvalidStatus: It is refused.
            Unreachable: The handshake was not sent.
            Lost: It may have been.
            Late: So may it, and there is no answer in time.
        """
        place = urlsplit(url)
        secure, host = place.scheme == "https", place.hostname or ""
        stream = await _dial(host, place.port or (443 if secure else 80))
        encryption: dict[str, Any] = {}
        if secure:
            encryption = {"ssl": authorities(), "server_hostname": name or host}
        try:
            return await websockets.connect(
                f"{'wss' if secure else 'ws'}://{_asked_host(headers, place.netloc)}{target}",
                sock=stream,
                additional_headers=_own(headers),
                subprotocols=[websockets.Subprotocol(name) for name in subprotocols] or None,
                user_agent_header=None,
                proxy=None,
                compression=None,
                open_timeout=_ANSWER_SECONDS,
                close_timeout=_CLOSE_SECONDS,
                max_size=MAX_AUDIO_MESSAGE,
                **encryption,
            )
        except InvalidStatus:
            raise
        except TimeoutError:
            stream.close()
            raise Late from None
        except (OSError, InvalidHandshake, InvalidURI, ValueError):
            stream.close()
            raise Lost from None


async def _read(response: httpx.Response) -> bytes:
    parts, size = [], 0
    async for part in response.aiter_raw():
        size += len(part)
        if size > _MAX_ANSWER:
            raise Lost
        parts.append(part)
    return b"".join(parts)


async def _dial(host: str, port: int) -> socket.socket:
    """Return a connected socket."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            # That of the first family: a transceiver has one.
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            family, kind, protocol, _, address = found[0]
            stream = socket.socket(family, kind, protocol)
            try:
                stream.setblocking(False)
                await loop.sock_connect(stream, address)
            except BaseException:
                stream.close()
                raise
            return stream
    except (OSError, TimeoutError):
        raise Unreachable from None


def _asked_host(headers: Raw, otherwise: str) -> str:
    """The host that the client asked for: origins are compared with it."""
    host = next((value.decode("latin-1") for name, value in headers if name == b"host"), "")
    return host if _HOST.fullmatch(host) else otherwise


def _own(headers: Raw) -> list[tuple[str, str]]:
    kept = ((name, value) for name, value in headers if name not in _HANDSHAKE)
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in kept]
