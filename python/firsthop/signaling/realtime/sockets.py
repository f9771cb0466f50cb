"""The Realtime API's WebSockets: sidebands of calls, and calls whose only line is a WebSocket."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter, WebSocket

from firsthop.errors import SignalingError
from firsthop.signaling.access import caller_of
from firsthop.signaling.description import SECURITY, refusals
from firsthop.signaling.desk import Desk
from firsthop.signaling.forwarding import subprotocol
from firsthop.signaling.http import error_response
from firsthop.signaling.socketend import SocketEnd
from firsthop.values import CONTINUED


def add(router: APIRouter, desk: Desk) -> None:
    """Add the WebSocket at /v1/realtime."""

    @router.get(
        "",
        status_code=426,
        responses=refusals(401, 403, 426),
        openapi_extra={"security": SECURITY},
    )
    async def explain() -> None:
        """Connect by WebSocket.

        `?call_id=` joins a call beside its caller, and takes an API key; `?model=` places a call
        whose sound travels in events.
        """
        message = "expected a WebSocket here; SDP offers are posted to /v1/realtime/calls"
        raise SignalingError(message, status=426, code="upgrade_required")

    @router.websocket("")
    async def connect(websocket: WebSocket) -> None:
        try:
            await _connect(desk, websocket)
        except SignalingError as error:
            await websocket.send_denial_response(error_response(error))


async def _connect(desk: Desk, websocket: WebSocket) -> None:
    call_ids, models = (websocket.query_params.getlist(name) for name in ("call_id", "model"))
    if len(call_ids) + len(models) != 1:
        raise SignalingError(
            "expected either ?call_id= of a call to join, or ?model= to place one",
            code="invalid_query",
            param="model" if models else "call_id",
        )
    if call_ids:
        await _join(desk, websocket, call_ids[0])
    else:
        await _place(desk, websocket, models[0])


async def _join(desk: Desk, websocket: WebSocket, call_id: str) -> None:
    """Be a sideband: hear all events of a call, and send any."""
    caller_of(websocket).must_be_server("joining a call")
    owner = desk.forwarding.owner(call_id, websocket)
    if owner is not None:
        return await desk.forwarding.sideband(owner, call_id, websocket)
    end = SocketEnd(websocket, desk.metrics, wants_audio=False)
    desk.calls.attach(call_id, end)
    await _serve(desk, websocket, call_id, end)


async def _place(desk: Desk, websocket: WebSocket, model: str) -> None:
    """Be a call's only line."""
    terms = await desk.terms(websocket, {}, model)
    if CONTINUED in websocket.headers:
        terms = replace(terms, continued=True)
    end = SocketEnd(websocket, desk.metrics, wants_audio=True)
    await _serve(desk, websocket, desk.calls.open_socket(end, terms), end)


async def _serve(desk: Desk, websocket: WebSocket, call_id: str, end: SocketEnd) -> None:
    try:
        # As for a call by WebRTC: who has its id can join it, and end it.
        headers = [(b"location", f"/v1/realtime/calls/{call_id}".encode())]
        await websocket.accept(subprotocol=subprotocol(websocket), headers=headers)
        await end.serve(lambda text: desk.calls.receive(call_id, end, text))
    finally:
        desk.calls.detach(call_id, end)
