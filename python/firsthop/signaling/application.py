"""What stands between a request and its route: proxies, origins, access, bounds, errors' form."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from firsthop.config import Settings
from firsthop.signaling.access import Guard
from firsthop.signaling.desk import Desk
from firsthop.signaling.http import BoundedBody, install_error_handlers
from firsthop.signaling.origins import (
    CORS_EXPOSED,
    CORS_HEADERS,
    CORS_METHODS,
    Origins,
)
from firsthop.signaling.proxies import Proxies, TrustedProxies
from firsthop.signaling.steering import TellSteered
from firsthop.telemetry.metrics import Metrics


def guard(app: FastAPI, settings: Settings, desk: Desk, metrics: Metrics) -> None:
    """Let in who may come in, whatever routes the application has or gets."""
    # The last one added is the first that a request meets.
    app.add_middleware(BoundedBody)
    app.add_middleware(Guard, access=desk.access, metrics=metrics)
    if settings.signaling.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.signaling.allowed_origins),
            allow_methods=CORS_METHODS,
            allow_headers=CORS_HEADERS,
            expose_headers=CORS_EXPOSED,
        )
    app.add_middleware(Origins, settings=settings, access=desk.access, metrics=metrics)
    app.add_middleware(TellSteered)
    trusted = TrustedProxies(settings.steering.trusted_proxies)
    app.add_middleware(Proxies, trusted=trusted)
    install_error_handlers(app)
