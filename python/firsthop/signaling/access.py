"""Who may ask: API keys, client secrets, and this machine while there are no keys.

A server holds an API key and may do everything. A browser holds a client secret, ``ek_...``, that a
server made for it: it may place calls on the secret's terms. While no API keys are set, callers on
this machine are served without one, and nobody else is.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import time
from dataclasses import dataclass
from typing import Final

from fastapi import Request, WebSocket
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from firsthop.calls.terms import Terms
from firsthop.config import Settings
from firsthop.errors import AccessError
from firsthop.signaling.clientsecret import ClientSecrets
from firsthop.signaling.http import error_response
from firsthop.telemetry.metrics import Metrics
from firsthop.values import CLIENT_SECRET

#: Paths that everybody may see, and folders of them; all others are guarded.
_PUBLIC: Final = frozenset(
    {"/", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/favicon.ico"}
)
_PUBLIC_FOLDER: Final = "/demo/"
#: How a browser gives its credential: it cannot set headers of a WebSocket.
_SUBPROTOCOL: Final = "openai-insecure-api-key."


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who sends a request, once it is known."""

    credential: str | None = None
    """The key or secret that it gave."""
    grant: Terms | None = None
    """What its client secret allows; None: it holds an API key or needs none."""

    def must_be_server(self, what: str) -> None:
        """Refuse the holder of a client secret.

        Raises:
            AccessError: 403: `what`, a phrase, takes an API key.
        """
        if self.grant is not None:
            message = f"{what} takes an API key; a client secret is good for placing calls"
            raise AccessError(message, code="api_key_needed")

    def must_continue(self, call_id: str) -> None:
        """Refuse the holder of a client secret, unless it is to go on with this call.

        Raises:
            AccessError: 403: it takes an API key, or the secret of a handover.
        """
        if self.grant is not None and self.grant.continues != call_id:
            message = "this takes an API key, or the client secret that the call was told"
            raise AccessError(message, code="api_key_needed")


class Access:
    """Decides who is let in.

    Args:
        settings: The API keys.
        secrets: Opens client secrets.
    """

    def __init__(self, settings: Settings, secrets: ClientSecrets) -> None:
        self._secrets = secrets
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """Let in who has one of these settings' API keys, from the next request on."""
        self._keys = [_digest(key) for key in settings.signaling.api_keys]

    @property
    def keyless(self) -> bool:
        """Whether there are no API keys, so that only this machine is served."""
        return not self._keys

    def admit(self, scope: Scope, now: float) -> Caller:
        """Return who sends this request.

        Args:
            scope: The request's ASGI scope.
            now: Unix seconds.

        Raises:
            AccessError: 401 or 403: it is not let in.
        """
        if self.keyless and not is_loopback(_peer(scope)):
            raise AccessError(
                "no API keys are set, so only callers on the server's own machine are served. Set "
                "signaling.api_keys, as FIRSTHOP_SIGNALING__API_KEYS='[\"...\"]', to serve others",
                code="local_only",
            )
        credential = _credential(scope)
        if credential is not None and credential.startswith(CLIENT_SECRET):
            grant = self._secrets.open(credential, now)
            return Caller(credential=credential, grant=grant)
        if self._keys:
            self._check(credential)
        return Caller(credential=credential)

    def _check(self, credential: str | None) -> None:
        if credential is None:
            message = "expected Authorization: Bearer with an API key or a client secret"
            raise AccessError(message, status=401, code="missing_api_key")
        given = _digest(credential)
        # All are compared, so how long it takes tells nothing.
        if sum(hmac.compare_digest(given, key) for key in self._keys) == 0:
            message = "the API key is none of this server's"
            raise AccessError(message, status=401, code="invalid_api_key")


class Guard:
    """ASGI middleware: lets in whom `Access` admits, and notes who it is.

    What is not meant for everybody is guarded, whatever its path: a protocol that is added later is
    too.
    """

    def __init__(self, app: ASGIApp, access: Access, metrics: Metrics) -> None:
        self._app = app
        self._access = access
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it before its body is read."""
        if scope["type"] == "lifespan" or is_public(scope):
            return await self._app(scope, receive, send)
        try:
            caller = self._access.admit(scope, time.time())
        except AccessError as error:
            self._metrics.access_refused.labels(error.code).inc()
            return await error_response(error)(scope, receive, send)
        scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, receive, send)


def caller_of(connection: Request | WebSocket) -> Caller:
    """Return who sends this request, as the guard has found out."""
    caller: Caller = connection.state.caller
    return caller


def is_public(scope: Scope) -> bool:
    """Whether a request is for what everybody may see."""
    path: str = scope["path"]
    return scope["type"] == "http" and (path in _PUBLIC or path.startswith(_PUBLIC_FOLDER))


def is_loopback(address: str) -> bool:
    """Whether an IP address is this machine to itself. What is none is not."""
    try:
        ip = ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if ip.version == 6 else None
    return (mapped or ip).is_loopback


def _peer(scope: Scope) -> str:
    """The address that a request comes from, or whom a trusted proxy asks for."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def _credential(scope: Scope) -> str | None:
    """The first credential of a request: bearer token, Azure's header, or a subprotocol."""
    headers = Headers(scope=scope)
    scheme, _, token = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    if key := headers.get("api-key", "").strip():
        return key
    for subprotocol in scope.get("subprotocols", ()):
        if subprotocol.startswith(_SUBPROTOCOL):
            return str(subprotocol.removeprefix(_SUBPROTOCOL))
    return None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
