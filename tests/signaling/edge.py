"""The HTTP side of a transceiver whose calls are the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import httpx
import uvicorn

from firsthop.backends.echo import EchoBackend
from firsthop.calls.callid import CallIds
from firsthop.calls.calls import Calls
from firsthop.calls.ends import End
from firsthop.calls.past import Past
from firsthop.calls.terms import Terms
from firsthop.config import Settings, SignalingSettings, TurnSettings
from firsthop.errors import EventError, OfferError, SignalingError, UnknownCallError
from firsthop.realtime.session import Session
from firsthop.telemetry.metrics import Metrics
from firsthop.transceiver.service import TransceiverService
from firsthop.webserver import http_config

OFFER = "v=0\r\ns=an offer\r\n"
#: To the n-th offer in mid-call: of what WHIP tells in fragments.
ANSWER = "\r\n".join(
    [
        "v=0",
        "o=- 1 {0} IN IP4 0.0.0.0",
        "a=group:BUNDLE 0 1",
        "m=video 9 UDP/TLS/RTP/SAVPF 96",
        "a=mid:1",
        "m=audio 3478 UDP/TLS/RTP/SAVPF 111",
        "c=IN IP4 192.0.2.1",
        "a=mid:0",
        "a=ice-ufrag:routable{0}",
        "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1",
        "a=fingerprint:sha-256 AB",
        "a=candidate:1 1 udp 1 192.0.2.1 3478 typ host",
        "",
    ]
)
CALLS = "/v1/realtime/calls"
CALL = "rtc_42"
API_KEY = "an-api-key-of-the-tests-0123"
BEARER = {"Authorization": f"Bearer {API_KEY}"}
GREETING = json.dumps({"type": "session.created"})


class FakeCalls:
    """Answers every offer, unless it has a refusal. There is one call, `CALL`."""

    def __init__(self, ids: CallIds) -> None:
        self.ids = ids
        self.offers: list[str] = []
        self.renegotiated: list[tuple[str, str]] = []
        """The offers that were made in mid-call, with the calls that they were for."""
        self.terms: list[Terms] = []
        self.hung_up: list[str] = []
        self.ends: list[End] = []
        self.received: list[str] = []
        self.refusal: Exception | None = None
        self.owned = {CALL}
        self.opens = CALL
        """The id that the next call gets."""
        self.gone = asyncio.Event()
        self.problem: str | None = None
        self.past = Past(session={"type": "realtime", "instructions": "Be as you were."})
        """What calls leave."""
        self.handed_over: list[tuple[str, str | None]] = []
        """Calls that go on elsewhere, and as which."""

    def __len__(self) -> int:
        return len(self.offers)

    def open(self, offer: str, terms: Terms | None = None) -> tuple[str, str]:
        """Take note of the offer."""
        self._take(terms)
        if not offer.startswith("v=0"):
            raise OfferError("expected v=0", 1)
        self.offers.append(offer)
        return self.opens, "v=0\r\ns=an answer\r\n"

    async def renegotiate(self, call_id: str, offer: str) -> str:
        """Take note of the offer."""
        self._find(call_id)
        if self.refusal is not None:
            raise self.refusal
        self.renegotiated.append((call_id, offer))
        return ANSWER.format(len(self.renegotiated))

    def open_socket(self, end: End, terms: Terms | None = None) -> str:
        """Take note of the end, and greet it."""
        self._take(terms)
        self.attach(CALL, end)
        return CALL

    def attach(self, call_id: str, end: End) -> None:
        """Take note of the end, and greet it."""
        self._find(call_id)
        self.ends.append(end)
        end.deliver(GREETING)

    def receive(self, call_id: str, end: End, text: str) -> None:
        """Take note of the event, and send it back unless it is huge."""
        self.received.append(text)
        if len(text) < 1_000_000:
            end.deliver(text)

    def detach(self, call_id: str, end: End) -> None:
        """Forget the end."""
        self.ends.remove(end)
        self.gone.set()

    def hang_up(self, call_id: str) -> None:
        """Take note of the call."""
        self._find(call_id)
        self.hung_up.append(call_id)

    def hand_over(self, call_id: str, successor: str | None = None) -> Past:
        """Take note of the call."""
        self._find(call_id)
        self.handed_over.append((call_id, successor))
        return self.past

    def owns(self, call_id: str) -> bool:
        """Whether it is one of ours."""
        return call_id in self.owned

    def _take(self, terms: Terms | None) -> None:
        if self.refusal is not None:
            raise self.refusal
        terms = terms or Terms()
        try:
            Session("sess_1", "any", TurnSettings(), terms.session)
        except EventError as error:
            raise SignalingError(error.message, code=error.code, param=error.param) from None
        self.terms.append(terms)

    def _find(self, call_id: str) -> None:
        if call_id not in self.owned:
            raise UnknownCallError(call_id)


class Edge:
    """The application, and a client of it."""

    def __init__(self, keys: dict[int, str] | None = None, **signaling: Any) -> None:
        settings = Settings(keys=keys or {}, signaling=SignalingSettings(**signaling))
        self.metrics = Metrics()
        self.service = TransceiverService(settings, self.metrics, EchoBackend())
        self.calls = FakeCalls(self.service.calls.ids)
        self.service.calls = cast(Calls, self.calls)
        self.client = client_of(self.service)

    async def post(
        self, body: Any, content_type: str | None, url: str = CALLS, **headers: str
    ) -> httpx.Response:
        """Post a body as it is."""
        if content_type is not None:
            headers["Content-Type"] = content_type
        return await self.client.post(url, content=body, headers=headers)

    async def post_json(self, url: str, body: Any, **headers: str) -> httpx.Response:
        """Post JSON."""
        return await self.client.post(url, json=body, headers=headers)

    @contextlib.asynccontextmanager
    async def served(
        self, listener: socket.socket | None = None, *, ping_seconds: float = 20
    ) -> AsyncIterator[str]:
        """Serve it as it is served in earnest, and yield where: ``127.0.0.1:port``."""
        config = http_config(self.service.app())
        config.ws_ping_interval = config.ws_ping_timeout = ping_seconds
        async with served(config, listener) as address:
            yield address


@contextlib.asynccontextmanager
async def served(
    config: uvicorn.Config, listener: socket.socket | None = None
) -> AsyncIterator[str]:
    """Serve an application, and yield where: ``127.0.0.1:port``."""
    with listener or socket.create_server(("127.0.0.1", 0)) as listener:
        server = _Server(config)
        task = asyncio.create_task(server.serve([listener]))
        await server.up.wait()
        try:
            yield "{}:{}".format(*listener.getsockname())
        finally:
            server.ending.set()
            await task


class _Server(uvicorn.Server):
    """uvicorn, beside the tests in one process."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()
        self.ending = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self.up.set()

    async def main_loop(self) -> None:
        """Go on until it is to end; uvicorn itself looks ten times a second."""
        await self.on_tick(0)
        await self.ending.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signals alone."""
        yield


def client_of(
    service: TransceiverService, peer: str = "127.0.0.1", host: str = "edge.example"
) -> httpx.AsyncClient:
    """Return a client of the application that calls from `peer`."""
    transport = httpx.ASGITransport(
        service.app(), raise_app_exceptions=False, client=(peer, 50_000)
    )
    return httpx.AsyncClient(transport=transport, base_url=f"http://{host}")


def refusal(response: httpx.Response, status: int) -> dict[str, Any]:
    """Return the error of a refusal, which has the Realtime API's form."""
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["error"]
    error: dict[str, Any] = response.json()["error"]
    assert error.keys() == {"message", "type", "code", "param"}
    assert error["message"]
    assert error["type"] == ("server_error" if status >= 500 else "invalid_request_error")
    return error
