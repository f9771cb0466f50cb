"""Which web pages may ask: our own, and those of the origins that are allowed.

Browsers let any page send requests to any server, with the page's origin in a header; for a
WebSocket they do not even ask first. So the origin is checked before anything happens. What is no
browser sends none, and passes.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from firsthop.config import Settings
from firsthop.errors import AccessError
from firsthop.signaling.access import Access, is_loopback, is_public
from firsthop.signaling.http import error_response
from firsthop.telemetry.metrics import Metrics

#: Headers that pages may send: those of the SDKs that are known.
CORS_HEADERS: Final = (
    "Authorization",
    "Content-Type",
    "If-Match",
    "OpenAI-Beta",
    "OpenAI-Organization",
    "OpenAI-Project",
    "OpenAI-Safety-Identifier",
    "X-OpenAI-Agents-SDK",
    "api-key",
)
CORS_METHODS: Final = ("GET", "POST", "PATCH", "DELETE", "OPTIONS")
#: Headers of answers that pages may read.
CORS_EXPOSED: Final = (
    "Accept-Patch",
    "Accept-Post",
    "ETag",
    "Firsthop-Steered",
    "Link",
    "Location",
    "Retry-After",
)


class Origins:
    """ASGI middleware: refuses requests of pages from elsewhere.

    While no API keys are set, our own origin has to name this machine too: a page elsewhere can
    give its own name our address (DNS rebinding), and would be at its own origin then.
    """

    def __init__(self, app: ASGIApp, settings: Settings, access: Access, metrics: Metrics) -> None:
        self._app = app
        self._allowed: Collection[str] = settings.signaling.allowed_origins
        self._access = access
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "lifespan" and not is_public(scope):
            for origin in Headers(scope=scope).getlist("origin"):
                if not self._may_ask(origin, scope):
                    error = _refusal(origin)
                    self._metrics.access_refused.labels(error.code).inc()
                    return await error_response(error)(scope, receive, send)
        await self._app(scope, receive, send)

    def _may_ask(self, origin: str, scope: Scope) -> bool:
        return "*" in self._allowed or origin in self._allowed or self._is_ours(origin, scope)

    def _is_ours(self, origin: str, scope: Scope) -> bool:
        hosts = Headers(scope=scope).getlist("host")
        try:
            page = urlsplit(origin)
            host = page.hostname or ""
        except ValueError:
            return False
        # TLS may have ended before us; a page of https may ask what one of http may.
        schemes = {"https"} if scope["scheme"] in {"https", "wss"} else {"http", "https"}
        same = [page.netloc.lower()] == [name.lower() for name in hosts] and page.scheme in schemes
        return same and (not self._access.keyless or _is_this_machine(host))


def _is_this_machine(host: str) -> bool:
    return is_loopback(host) or host == "localhost" or host.endswith(".localhost")


def _refusal(origin: str) -> AccessError:
    return AccessError(
        f"pages of {origin[:200]!r} may not ask; add that origin to signaling.allowed_origins to "
        "let them",
        code="origin_not_allowed",
    )
