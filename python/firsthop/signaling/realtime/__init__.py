"""The Realtime API: calls by WebRTC, client secrets, and WebSockets."""

from __future__ import annotations

from fastapi import APIRouter

from firsthop.signaling.desk import Desk
from firsthop.signaling.realtime import calls, secrets, sockets


def routes(desk: Desk) -> APIRouter:
    """Return everything under /v1/realtime."""
    router = APIRouter(prefix="/v1/realtime", tags=["realtime"])
    for part in (calls, secrets, sockets):
        part.add(router, desk)
    return router


def socket_routes(desk: Desk) -> APIRouter:
    """Return /v1/realtime for WebSockets alone: where there is no WebRTC."""
    router = APIRouter(prefix="/v1/realtime", tags=["realtime"])
    sockets.add(router, desk)
    return router
