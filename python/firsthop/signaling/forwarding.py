"""Requests for calls of other transceivers: passed on to the owner, whom the call's id names.

A request is passed on once. The owner checks the credential that came with it again, so the
transceivers of a cluster have the same API keys; without any they serve their own machine only, and
a request is passed on within that machine at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import httpx
import websockets
from fastapi import Request, Response, WebSocket
from websockets.exceptions import InvalidHandshake, InvalidStatus

from firsthop.calls.calls import Calls
from firsthop.config import Settings
from firsthop.errors import AccessError, SignalingError
from firsthop.signaling.access import caller_of, is_loopback
from firsthop.signaling.joining import join
from firsthop.signaling.proxies import UNKNOWN, client_of, from_trusted_proxy
from firsthop.signaling.socketend import MAX_AUDIO_MESSAGE, MAX_SIDEBAND_MESSAGE
from firsthop.steering.steered import INGRESS_HEADER
from firsthop.telemetry.metrics import Metrics

#: Marks what was passed on, so that it is not again.
HEADER: Final = "Firsthop-Forwarded"
_CONNECT_SECONDS: Final = 2.0
_ANSWER_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 1.0
_GONE: Final = "the transceiver that owns the call is gone"
#: Headers of the client's request that are the owner's.
_ASKED_WITH: Final = ("content-type", "if-match")
#: Headers of the owner's answer that are the client's.
_ANSWERED_WITH: Final = ("content-type", "etag", "retry-after", "www-authenticate")


class Forwarding:
    """Finds the owners of calls, and passes requests on to them.

    Args:
        settings: Whether there are API keys.
        calls: The calls of this transceiver.
        metrics: Counts what was passed on.
    """

    def __init__(self, settings: Settings, calls: Calls, metrics: Metrics) -> None:
        self._calls = calls
        self._metrics = metrics
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """Pass on as it takes with these settings' API keys, from the next request on."""
        self._keyless = not settings.signaling.api_keys

    def owner(self, call_id: str, connection: Request | WebSocket) -> str | None:
        """Where another transceiver is whose call this may be; None if there is none to ask.

        Raises:
            AccessError: 403: it is on another machine, which serves its own only.
        """
        if self._calls.owns(call_id) or HEADER in connection.headers:
            return None
        owner = self._calls.ids.owner(call_id)
        if owner is None or owner == self._calls.ids.address:
            return None
        self.check(owner)
        return owner

    def check(self, owner: str) -> None:
        """Refuse to ask another transceiver that would not answer.

        Raises:
            AccessError: 403: it is on another machine, which serves its own only.
        """
        if self._keyless and not is_loopback(owner.rpartition(":")[0]):
            raise AccessError(
                "the call is another transceiver's, and requests are passed on between machines "
                "only with API keys: set the same signaling.api_keys on all transceivers",
                code="local_only",
            )

    async def pass_on(self, owner: str, request: Request) -> Response:
        """Pass on a request with its body, and return the owner's answer.

        Raises:
            SignalingError: 502 or 504: the owner does not answer.
        """
        timeout = httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS)
        url = f"http://{owner}{request.url.path}"
        headers = _kept(request.headers, _ASKED_WITH) | _headers(request)
        body = await request.body()
        try:
            # The network between transceivers is the cluster's own: no proxy, no TLS.
            async with httpx.AsyncClient(timeout=timeout, trust_env=False, verify=False) as client:
                answer = await client.request(request.method, url, content=body, headers=headers)
        except httpx.TimeoutException:
            raise self._silent() from None
        except httpx.HTTPError:
            raise self._unreachable() from None
        self._count("answered")
        return _passed_on(answer.status_code, answer.headers, answer.content)

    async def sideband(self, owner: str, call_id: str, websocket: WebSocket) -> None:
        """Join a WebSocket that is not accepted yet with the owner's, until either is closed.

        Raises:
            SignalingError: 502 or 504: the owner does not answer.
        """
        try:
            upstream = await websockets.connect(
                f"ws://{owner}/v1/realtime?call_id={call_id}",
                additional_headers=_headers(websocket),
                user_agent_header=None,
                proxy=None,
                compression=None,
                open_timeout=_ANSWER_SECONDS,
                close_timeout=_CLOSE_SECONDS,
                max_size=MAX_AUDIO_MESSAGE,
            )
        except InvalidStatus as error:
            self._count("answered")
            answer = error.response
            return await websocket.send_denial_response(
                _passed_on(answer.status_code, answer.headers, bytes(answer.body or b""))
            )
        except TimeoutError:
            raise self._silent() from None
        except (OSError, InvalidHandshake):
            raise self._unreachable() from None
        self._count("answered")
        async with upstream:
            await websocket.accept(subprotocol=subprotocol(websocket))
            await join(websocket, upstream, MAX_SIDEBAND_MESSAGE, _GONE)

    def _silent(self) -> SignalingError:
        self._count("timeout")
        return SignalingError(
            f"the transceiver that owns the call did not answer within {_ANSWER_SECONDS:.0f} s",
            status=504,
            code="owner_timeout",
        )

    def _unreachable(self) -> SignalingError:
        self._count("unreachable")
        return SignalingError(
            "the transceiver that owns the call cannot be reached: it is down and the call with "
            "it, or its signaling.reachable is wrong",
            status=502,
            code="owner_unreachable",
        )

    def _count(self, result: str) -> None:
        self._metrics.forwarded.labels(result).inc()


def subprotocol(websocket: WebSocket) -> str | None:
    """The subprotocol to select: browsers that offer some insist on one of them."""
    return "realtime" if "realtime" in websocket.scope.get("subprotocols", ()) else None


def _headers(connection: Request | WebSocket) -> dict[str, str]:
    credential = caller_of(connection).credential
    bearer = {"Authorization": f"Bearer {credential}"} if credential else {}
    # For a client that comes for another call: the owner steers it as we would.
    steered = _kept(connection.headers, (INGRESS_HEADER,)) if from_trusted_proxy(connection) else {}
    return {HEADER: "1", "X-Forwarded-For": client_of(connection) or UNKNOWN} | bearer | steered


def _passed_on(status: int, headers: Mapping[str, str], body: bytes) -> Response:
    return Response(body, status, headers=_kept(headers, _ANSWERED_WITH))


def _kept(headers: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    return {name: headers[name] for name in names if name in headers}
