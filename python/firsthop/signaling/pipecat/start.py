"""POST /start: where a client begins that wants to be told where its calls are placed."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from firsthop.errors import SignalingError
from firsthop.signaling import offers
from firsthop.signaling.access import caller_of
from firsthop.signaling.description import refusals
from firsthop.signaling.pipecat.bodies import START_BODY, STARTED
from firsthop.signaling.pipecat.sessions import Sessions


def add(router: APIRouter, sessions: Sessions) -> None:
    """Add /start."""

    @router.post(
        "/start",
        responses={200: STARTED, **refusals(400, 401, 403, 413, 415)},
        openapi_extra=START_BODY,
    )
    async def start(request: Request) -> dict[str, Any]:
        """Start a session; its calls are placed at /sessions/{sessionId}/api/offer."""
        body = await offers.read_object(request)
        if body.get("transport") not in (None, "webrtc"):
            message = "expected webrtc: that is the only transport here"
            raise SignalingError(message, code="unsupported_transport", param="transport")
        # What else an application tells its bot is between the two.
        told = body.get("body")
        session = told.get("session") if isinstance(told, dict) else None
        session = offers.as_object(session, "body.session")
        started: dict[str, Any] = {"sessionId": sessions.start(caller_of(request), session)}
        if offers.as_bool(body.get("enableDefaultIceServers"), "enableDefaultIceServers"):
            # The answer's addresses can be reached from anywhere, or from nowhere.
            started["iceConfig"] = {"iceServers": []}
        return started
