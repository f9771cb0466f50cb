"""Signaling protocols: how an offer arrives and an answer leaves.

One file per protocol. Each has `routes(calls) -> APIRouter` and is listed in `PROTOCOLS`; the
application includes them all. They share how a body is read and how an error looks (`http`).
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter

from firsthop.transceiver.calls import Calls
from firsthop.transceiver.signaling import realtime

PROTOCOLS: tuple[Callable[[Calls], APIRouter], ...] = (realtime.routes,)
