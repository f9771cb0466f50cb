"""The gateway as a service of the process: it watches the fleet, and serves HTTP."""

from __future__ import annotations

from typing import Final

import structlog
from fastapi import FastAPI, Request, Response, WebSocket
from starlette.requests import ClientDisconnect

from firsthop.config import Settings
from firsthop.errors import ConfigError, SignalingError
from firsthop.fleet.observer import Observer
from firsthop.gateway.passing import Passing
from firsthop.gateway.underway import UnderWay
from firsthop.signaling.http import BoundedBody, error_response, install_error_handlers
from firsthop.signaling.proxies import Proxies, TrustedProxies
from firsthop.signaling.steering import contexts
from firsthop.steering.context import Context
from firsthop.steering.decide import decide
from firsthop.telemetry import http as operations
from firsthop.telemetry.metrics import Metrics

log = structlog.get_logger()

_METHODS: Final = ["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"]
#: Pages may read our own refusals: they tell nothing that is secret.
_FOR_PAGES: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Retry-After",
}


class GatewayService:
    """Runs one gateway: `start`, then serve `app`, then `stop`; perhaps `drain` in between.

    Args:
        settings: All settings.
        metrics: The process's metrics.

    Raises:
        ConfigError: There is no fleet file, or it is wrong, or `steering.geoip` is.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        if settings.fleet.file is None:
            problem = "a gateway needs one: it tells the clusters, and where their signaling is"
            raise ConfigError("fleet.file", problem)
        self._settings = settings
        self._metrics = metrics
        self._observer = Observer(settings, metrics)
        self._requests = UnderWay()
        self._draining = False
        self._passing = Passing(lambda: self._observer.view, contexts(settings), metrics)

    def start(self) -> None:
        """Begin to watch the fleet, on the running loop."""
        self._observer.start()
        fleet = self._observer.view.fleet
        log.info("gateway.started", clusters=len(fleet.clusters), ingresses=len(fleet.ingresses))

    def apply(self, settings: Settings) -> None:
        """Open heartbeats with keys that have changed."""
        self._observer.use(settings)

    def drain(self, deadline: float) -> None:
        """Say that others are to be asked. Whoever still comes is served: it does no harm."""
        self._draining = True

    async def drained(self) -> None:
        """Return once no request is on its way and no WebSocket is open."""
        await self._requests.none()

    @property
    def under_way(self) -> int:
        """Requests, and WebSockets."""
        return len(self._requests)

    async def stop(self) -> None:
        """Watch no more, and let go of all connections."""
        await self._observer.stop()
        await self._passing.close()
        log.info("gateway.stopped")

    def problem(self) -> str | None:
        """Why the gateway is not ready for new calls, or None."""
        if self._draining:
            return "draining"
        view = self._observer.view
        without = {cluster.id for cluster in view.fleet.clusters if not cluster.signaling}
        decision = decide(Context(), view, without=without)
        return None if decision.cluster is not None else decision.reasons[0]

    def app(self) -> FastAPI:
        """The HTTP side."""
        app = FastAPI(title="firsthop gateway", docs_url=None, redoc_url=None, openapi_url=None)
        app.add_middleware(BoundedBody)
        trusted = TrustedProxies(self._settings.steering.trusted_proxies)
        app.add_middleware(Proxies, trusted=trusted)
        install_error_handlers(app)
        app.include_router(operations.routes(self._metrics, self.problem))

        @app.api_route("/{path:path}", methods=_METHODS)
        async def pass_on(request: Request) -> Response:
            try:
                with self._requests:
                    return await self._passing.http(request)
            except SignalingError as error:
                return error_response(error, _FOR_PAGES)
            except ClientDisconnect:
                return Response(status_code=400)  # Nobody reads it.

        @app.websocket("/{path:path}")
        async def connect(websocket: WebSocket) -> None:
            try:
                with self._requests:
                    await self._passing.websocket(websocket)
            except SignalingError as error:
                await websocket.send_denial_response(error_response(error))

        return app
