"""How the gateway passes a request on, until a transceiver has answered it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar
from urllib.parse import quote

import structlog
from fastapi import Request, Response, WebSocket
from starlette.types import Scope
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from firsthop.errors import OverloadedError, SignalingError
from firsthop.fleet.view import View
from firsthop.gateway import asked as asking
from firsthop.gateway import headers
from firsthop.gateway.asked import Asked
from firsthop.gateway.targets import Target, Targets
from firsthop.gateway.upstream import Answer, Late, Lost, Unreachable, Upstream
from firsthop.signaling.joining import join
from firsthop.signaling.proxies import UNKNOWN, client_of, from_trusted_proxy
from firsthop.signaling.socketend import MAX_AUDIO_MESSAGE, MAX_SIDEBAND_MESSAGE
from firsthop.signaling.steering import context_of
from firsthop.steering.context import Context, Contexts
from firsthop.steering.steered import INGRESS_HEADER, STEERED_HEADER, Steered, ids_text
from firsthop.telemetry.metrics import Metrics

log = structlog.get_logger()
T = TypeVar("T", Answer, ClientConnection | Answer)

#: So long may a client take to send a request's body.
_BODY_SECONDS: Final = 10.0
#: What stands in a path or a query without being encoded.
_SAFE: Final = "/:@!$&'()*+,;=-._~"
#: Marks what a gateway has passed on.
_PASSED: Final = "Firsthop-Gateway"
_GONE: Final = "the transceiver that has the call is gone"


class Passing:
    """Passes requests on.

    Args:
        view: Returns the fleet as it is seen at the moment.
        contexts: Finds out where clients are.
        metrics: Counts what was passed on.
    """

    def __init__(self, view: Callable[[], View], contexts: Contexts, metrics: Metrics) -> None:
        self._view = view
        self._contexts = contexts
        self._metrics = metrics
        self._targets = Targets()
        self._upstream = Upstream()

    async def close(self) -> None:
        """Let go of all connections."""
        await self._upstream.close()

    async def http(self, request: Request) -> Response:
        """Pass on a request, and return the answer.

        Raises:
            SignalingError: The request is for nothing that there is, or too large, or too slow; or
                no transceiver has answered it.
        """
        raw = request.headers.raw
        _check(raw)
        path, body = request.scope["path"], await _body(request)
        asked = asking.by_http(request.method, path, body)
        if asked is None:
            message = f"there is nothing at {path[:200]}"
            raise SignalingError(message, status=404, code="not_found")

        async def ask(target: Target) -> Answer:
            onward = headers.onward(raw, _told(request, asked, target))
            url = target.url + _path_and_query(request.scope)
            return await self._upstream.ask(request.method, url, onward, body, target.name)

        target, answer = await self._first(ask, asked, context_of(request, self._contexts))
        return _response(answer, asked, target)

    async def websocket(self, websocket: WebSocket) -> None:
        """Join a WebSocket that is not accepted yet with a transceiver's, until either is closed.

        Raises:
            SignalingError: As for `http`.
        """
        raw = websocket.headers.raw
        _check(raw)
        call_ids = websocket.query_params.getlist("call_id")
        asked = asking.by_websocket(websocket.scope["path"], call_ids)
        if asked is None:
            raise SignalingError("WebSockets go to /v1/realtime", status=404, code="not_found")
        offered = list(websocket.scope.get("subprotocols", ()))

        async def connect(target: Target) -> ClientConnection | Answer:
            onward = headers.onward(raw, _told(websocket, asked, target))
            where = _path_and_query(websocket.scope)
            try:
                return await self._upstream.connect(target.url, where, onward, offered, target.name)
            except InvalidStatus as error:
                return _refusal(error)

        context = context_of(websocket, self._contexts)
        target, upstream = await self._first(connect, asked, context)
        if isinstance(upstream, Answer):
            return await websocket.send_denial_response(_response(upstream, asked, target))
        limit = MAX_AUDIO_MESSAGE if asked.places else MAX_SIDEBAND_MESSAGE
        async with upstream:
            subprotocol = upstream.subprotocol
            await websocket.accept(subprotocol, _of_handshake(upstream, asked, target))
            await join(websocket, upstream, limit, _GONE)

    async def _first(
        self, ask: Callable[[Target], Awaitable[T]], asked: Asked, context: Context
    ) -> tuple[Target, T]:
        """Ask one transceiver after the other until one has an answer other than "no room"."""
        full = False
        for target in self._targets.of(asked, context, self._view()):
            try:
                answer = await ask(target)
            except Unreachable:
                self._targets.note(target, reached=False)
                self._count(target, "unreachable")
                continue
            except Late:
                self._count(target, "timeout")
                raise _unclear("did not answer in time", 504, "cluster_timeout") from None
            except Lost:
                self._count(target, "lost")
                raise _unclear("broke the connection off", 502, "cluster_lost") from None
            self._targets.note(target, reached=True)
            if _has_no_room(answer) and not target.final:
                self._count(target, "full")
                full = True
                continue
            self._count(target, "answered")
            if asked.places and not (isinstance(answer, Answer) and answer.status >= 400):
                log.info("call.steered", **Steered(context, target.decision).story())
            return target, answer
        self._metrics.gateway_requests.labels("none", "full" if full else "unreachable").inc()
        if asked.call_id is not None and not asked.elsewhere:
            message = "no transceiver of the call's cluster can be reached"
            raise SignalingError(message, status=502, code="cluster_unreachable")
        raise OverloadedError("no cluster has room, or none can be reached")

    def _count(self, target: Target, result: str) -> None:
        self._metrics.gateway_requests.labels(str(target.cluster), result).inc()


def _check(raw: headers.Raw) -> None:
    headers.check(raw)
    if any(name.lower() == _PASSED.lower().encode() for name, _ in raw):
        message = "this request went through a gateway already; the fleet file names gateways"
        raise SignalingError(message, status=508, code="loop_detected")


async def _body(request: Request) -> bytes:
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            return await request.body()
    except TimeoutError:
        message = f"the request's body did not come within {_BODY_SECONDS:.0f} s"
        raise SignalingError(message, status=408, code="request_timeout") from None


def _told(connection: Request | WebSocket, asked: Asked, target: Target) -> Mapping[str, str]:
    """What the transceiver is told of the client."""
    secure = connection.scope["scheme"] in {"https", "wss"}
    told = {
        "X-Forwarded-For": client_of(connection) or UNKNOWN,
        "X-Forwarded-Proto": "https" if secure else "http",
        _PASSED: "1",
    }
    if asked.places:
        trusted = from_trusted_proxy(connection)
        chosen = connection.headers.get(INGRESS_HEADER) if trusted else None
        if ingresses := chosen or ids_text(target.decision.ingresses):
            told[INGRESS_HEADER] = ingresses
    return told


def _path_and_query(scope: Scope) -> str:
    """Path and query, in one spelling."""
    path = quote(scope["path"], safe=_SAFE)
    query = quote(scope["query_string"], safe=f"{_SAFE}%?")
    return f"{path}?{query}" if query else path


def _has_no_room(answer: ClientConnection | Answer) -> bool:
    if not isinstance(answer, Answer):
        return False
    # FastRTC's clients read failures from answers with status 200.
    return answer.status == 503 or b'"concurrency_limit_reached"' in answer.body[:200]


def _response(answer: Answer, asked: Asked, target: Target) -> Response:
    response = Response(answer.body, answer.status)
    response.raw_headers += headers.back(answer.headers)
    if asked.places and answer.status < 400:
        response.headers.setdefault(STEERED_HEADER, _steered(target))
    return response


def _of_handshake(upstream: ClientConnection, asked: Asked, target: Target) -> headers.Raw:
    """Headers of a handshake that are the client's: of a call, where it is."""
    if not asked.places or upstream.response is None:
        return []
    kept = [
        (b"location", value.encode()) for value in upstream.response.headers.get_all("location")
    ]
    return [*kept, (STEERED_HEADER.lower().encode(), _steered(target).encode())]


def _steered(target: Target) -> str:
    """What is true of the decision even if the transceiver goes by its own settings."""
    return f"cluster={target.cluster}"


def _refusal(error: InvalidStatus) -> Answer:
    refused = error.response
    raw = [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in refused.headers.raw_items()
    ]
    return Answer(refused.status_code, raw, bytes(refused.body or b""))


def _unclear(what: str, status: int, code: str) -> SignalingError:
    message = f"the transceiver {what}; whether it did what was asked is not known"
    return SignalingError(message, status=status, code=code)
