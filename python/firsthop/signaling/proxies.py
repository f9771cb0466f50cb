"""Where a request comes from, when proxies have passed it on.

A proxy that is trusted tells in X-Forwarded-For whom it asks for. What anybody else writes there
means nothing. Other headers that name a client are never taken for it: who may ask hangs on this
address, and many a proxy lets those through as the client wrote them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from fastapi import Request, WebSocket
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

#: Stands for a client of whom a trusted proxy has said nothing that makes sense.
UNKNOWN: Final = "unknown"
#: So many proxies in a row are followed.
_MAX_PROXIES: Final = 16
#: Of X-Forwarded-For, in characters; what is longer is cut at its beginning, the far end.
_MAX_FORWARDED: Final = 4096
_WITH_PORT: Final = re.compile(r"\[([^\]]{2,45})\](?::\d{1,5})?|([\d.]{7,15}):\d{1,5}", re.ASCII)
_MAX_ADDRESS: Final = 45
_SCHEMES: Final = frozenset({"http", "https", "ws", "wss"})
_STATE: Final = "from_trusted_proxy"

Ip = IPv4Address | IPv6Address


class TrustedProxies:
    """The proxies whose word counts.

    Args:
        networks: Where they are.
    """

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [ipaddress.ip_network(network) for network in networks]

    def trusts(self, address: Ip | None) -> bool:
        """Whether what comes from this address is taken at its word."""
        return address is not None and any(address in network for network in self._networks)

    def client(self, peer: Ip, forwarded: Sequence[str]) -> Ip | None:
        """Follow X-Forwarded-For from a trusted peer back to the first that is not trusted.

        Args:
            peer: Who is connected to us.
            forwarded: The header's values, in the order of the request.

        Returns:
            Whom it asks for; the farthest proxy if all are trusted; None if one of them has
            written what is no address.
        """
        text = ",".join(forwarded)[-_MAX_FORWARDED:]
        hops = [hop.strip() for hop in text.split(",") if hop.strip()]
        client = peer
        for followed, hop in enumerate(reversed(hops)):
            if not self.trusts(client):
                break
            ip = address_in(hop)
            if ip is None or followed == _MAX_PROXIES:
                return None
            if ip.is_loopback and not client.is_loopback:
                # That machine speaks of itself: its loopback is not ours.
                break
            client = ip
        return client


class Proxies:
    """ASGI middleware: lets a request's client and scheme be those that trusted proxies tell.

    Args:
        app: What comes after it.
        trusted: Whose word counts.
    """

    def __init__(self, app: ASGIApp, trusted: TrustedProxies) -> None:
        self._app = app
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "lifespan":
            client = scope.get("client")
            peer = address_in(client[0]) if client else None
            trusted = self._trusted.trusts(peer)
            scope.setdefault("state", {})[_STATE] = trusted
            if trusted and peer is not None:
                self._follow(scope, peer)
        await self._app(scope, receive, send)

    def _follow(self, scope: Scope, peer: Ip) -> None:
        headers = Headers(scope=scope)
        if forwarded := headers.getlist("x-forwarded-for"):
            client = self._trusted.client(peer, forwarded)
            scope["client"] = (str(client or UNKNOWN), 0)
        schemes = headers.getlist("x-forwarded-proto")
        if len(schemes) == 1 and (scheme := schemes[0].strip().lower()) in _SCHEMES:
            secure = scheme in {"https", "wss"}
            plain = "http" if scope["type"] == "http" else "ws"
            scope["scheme"] = plain + "s" if secure else plain


def from_trusted_proxy(connection: Request | WebSocket) -> bool:
    """Whether a request was passed on by a proxy that is trusted, so that its headers count."""
    return bool(connection.scope.get("state", {}).get(_STATE))


def client_of(connection: Request | WebSocket) -> str | None:
    """The address that a request comes from; None if that is not known."""
    client = connection.scope.get("client")
    address = address_in(client[0]) if client else None
    return None if address is None else str(address)


def address_in(text: str) -> Ip | None:
    """Read an address, with or without a port; None if it is none."""
    found = _WITH_PORT.fullmatch(text)
    bare = (found[1] or found[2]) if found else text
    if len(bare) > _MAX_ADDRESS or "%" in bare:
        return None
    try:
        ip = ipaddress.ip_address(bare)
    except ValueError:
        return None
    # One address has one form: sockets that take both families show IPv4 as mapped.
    mapped = ip.ipv4_mapped if ip.version == 6 else None
    return mapped or ip
