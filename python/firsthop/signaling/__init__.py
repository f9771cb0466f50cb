"""Signaling protocols: how an offer arrives and an answer leaves, and who may ask.

A protocol is a module or a package with `routes(desk) -> APIRouter`, listed in `PROTOCOLS`; the
application includes those that the settings name. What they share lies beside them: who is let in
(`access`, `origins`), how a body is read and an error looks (`http`, `offers`), what a call is
placed with (`placing`), and how a request reaches the owner of its call (`forwarding`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from fastapi import APIRouter, WebSocket

from firsthop.config import Protocol
from firsthop.errors import SignalingError
from firsthop.signaling import fastrtc, pipecat, realtime, whip
from firsthop.signaling.desk import Desk
from firsthop.signaling.http import error_response

PROTOCOLS: Mapping[Protocol, Callable[[Desk], APIRouter]] = {
    "realtime": realtime.routes,
    "whip": whip.routes,
    "pipecat": pipecat.routes,
    "fastrtc": fastrtc.routes,
}


def routes(desk: Desk, protocols: Iterable[Protocol]) -> APIRouter:
    """Return the routes of some protocols, and what other paths answer to a WebSocket."""
    router = APIRouter()
    for protocol in dict.fromkeys(protocols):
        router.include_router(PROTOCOLS[protocol](desk))

    @router.websocket("/{path:path}")
    async def elsewhere(websocket: WebSocket, path: str) -> None:
        error = SignalingError("WebSockets go to /v1/realtime", status=404, code="not_found")
        await websocket.send_denial_response(error_response(error))

    return router
