"""Pipecat's SmallWebRTC signaling: JSON to /api/offer, with or without a session from /start.

Its clients speak RTVI on their data channel (`firsthop.rtvi`).
"""

from __future__ import annotations

from fastapi import APIRouter

from firsthop.signaling.desk import Desk
from firsthop.signaling.pipecat import calls, start
from firsthop.signaling.pipecat.sessions import Sessions


def routes(desk: Desk) -> APIRouter:
    """Return /start, /api/offer, and /sessions/{session_id}/api/offer."""
    router = APIRouter(tags=["pipecat"])
    sessions = Sessions(desk)
    start.add(router, sessions)
    calls.add(router, desk, sessions)
    return router
