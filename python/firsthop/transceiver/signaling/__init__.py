"""Signaling protocols: how an offer arrives and an answer leaves, and who may ask.

One file per protocol. Each has `routes(desk) -> APIRouter` and is listed in `PROTOCOLS`; the
application includes them all. They share how a body is read and how an error looks (`http`), and
who is let in (`access`, `origins`).
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter

from firsthop.transceiver.signaling import realtime, secrets, websocket
from firsthop.transceiver.signaling.desk import Desk

PROTOCOLS: tuple[Callable[[Desk], APIRouter], ...] = (
    realtime.routes,
    secrets.routes,
    websocket.routes,
)
