"""A transceiver as a service of the process: engine, calls, agents, signaling and demo page."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from importlib.resources import files
from pathlib import Path

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse
from starlette.middleware.base import RequestResponseEndpoint
from starlette.staticfiles import StaticFiles

from firsthop import backends, signaling
from firsthop.backends.base import Backend
from firsthop.calls.callid import CallIds
from firsthop.calls.calls import Calls
from firsthop.config import Settings
from firsthop.fleet.beat import Beat, Place
from firsthop.fleet.observer import Observer
from firsthop.signaling import application, description, reference
from firsthop.signaling.desk import Desk
from firsthop.signaling.handover import sealed
from firsthop.signaling.steering import Steering
from firsthop.speech import activity
from firsthop.telemetry import http as operations
from firsthop.telemetry.metrics import Metrics
from firsthop.transceiver.engine import EngineLoop
from firsthop.transceiver.loopback import Loopback
from firsthop.transceiver.owncall import OwnCalls

log = structlog.get_logger()

_SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; media-src 'self' blob:; frame-ancestors 'none'",
    "Permissions-Policy": "microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class TransceiverService:
    """Runs one transceiver: `prepare`, then `start`, then `stop`; perhaps `drain` in between.

    Args:
        settings: All settings.
        metrics: The process's metrics.
        backend: Who answers; by default, whom the settings name.
    """

    def __init__(
        self, settings: Settings, metrics: Metrics, backend: Backend | None = None
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._backend = backend if backend is not None else backends.load(settings, metrics)
        self._engine = EngineLoop(settings)
        self._own_calls = OwnCalls(self._engine)
        self._loopback: Loopback | None = None
        self._moving_on: asyncio.TimerHandle | None = None
        self._ids = CallIds.of(settings)
        self._desk: Desk | None = None
        self.calls = Calls(settings, self._backend, metrics, self._ids, self._engine)
        self._observer: Observer | None = None
        self._steering: Steering | None = None
        if settings.fleet.file is not None:
            self._observer = observer = Observer(settings, metrics, clusters=False)
            self._steering = Steering.of(settings, lambda: observer.view)

    async def prepare(self) -> None:
        """Prepare the backend and load the models: what is slow, and what may be missing.

        Raises:
            FirsthopError: The backend cannot answer calls.
        """
        await self._backend.prepare()
        activity.warm_up()

    def start(self) -> None:
        """Bind the sockets and start the engine, on the running loop.

        Raises:
            ConfigError: No keys are set.
            OSError: A socket cannot be bound; the message names the setting and the address.
        """
        self._engine.start()
        if self._observer is not None:
            self._observer.start()
        self._metrics.watch_engine(self._counters)
        transceiver = self._settings.transceiver
        self._metrics.capacity.set(transceiver.max_sessions)
        log.info("transceiver.started", shards=transceiver.shards, backend=self._settings.backend)
        if transceiver.loopback:
            self._call_itself()
        if not self._settings.signaling.api_keys:
            log.info("signaling.no_api_keys", serves="this machine only")

    def apply(self, settings: Settings) -> None:
        """Take over keys that have changed. Calls go on, and what was sealed before is good.

        Raises:
            ConfigError: There is no key to seal under.
            OverloadedError: The engine does not keep up; to be called again.
        """
        keys, before = settings.key_bytes(), self._settings
        if (settings.keys, settings.key_id) != (before.keys, before.key_id):
            # First what may fail: it is all or nothing.
            self._engine.set_keys(keys, settings.key_id)
            self._ids.use(keys, settings.key_id)
        if self._desk is not None:
            self._desk.use(settings)
        self._settings = settings

    def beat(self) -> Beat:
        """What the transceiver tells the fleet of itself."""
        transceiver = self._settings.transceiver
        place = Place("cluster", transceiver.cluster)
        return Beat(
            place,
            sessions=len(self.calls),
            capacity=transceiver.max_sessions,
            draining=self.calls.draining,
        )

    def drain(self, deadline: float) -> None:
        """Take no new calls from now on; shortly before `deadline`, ask those left to move on."""
        self.calls.drain()
        handover_seconds = self._settings.transceiver.handover_seconds
        if handover_seconds:
            loop, at = asyncio.get_running_loop(), deadline - handover_seconds
            self._moving_on = loop.call_at(at, self.calls.move_on, deadline)

    async def drained(self) -> None:
        """Return once all calls are over."""
        await self.calls.over()

    @property
    def under_way(self) -> int:
        """The calls."""
        return len(self.calls)

    async def stop(self) -> None:
        """Hang up, and end the engine."""
        if self._moving_on is not None:
            self._moving_on.cancel()
        if self._loopback is not None:
            await self._loopback.stop()
        await self.calls.close()
        if self._observer is not None:
            await self._observer.stop()
        self._engine.stop()
        log.info("transceiver.stopped")

    @property
    def listening(self) -> list[str]:
        """The shards' transport addresses."""
        return self._engine.engine.addresses()

    def problem(self) -> str | None:
        """Why the transceiver is not ready for new calls, or None."""
        if not self._engine.running:
            return "not started"
        unreachable = None if self._loopback is None else self._loopback.problem
        return self.calls.problem or unreachable

    def app(self) -> FastAPI:
        """The HTTP side: signaling, operations, and the demo page."""
        app = FastAPI(
            title="firsthop",
            summary="WebRTC calls with voice agents: an SDP offer in, an answer out.",
            version="1",
            docs_url=None,
            redoc_url=None,
        )
        settings, metrics = self._settings, self._metrics
        desk = Desk.of(settings, self.calls, metrics, self._steering)
        self._desk = desk
        self.calls.seal = partial(sealed, desk.secrets)
        application.guard(app, settings, desk, metrics)
        app.include_router(signaling.routes(desk, settings.signaling.protocols))
        app.include_router(operations.routes(self._metrics, self.problem))
        description.complete(app)
        reference.add(app)
        if self._settings.signaling.demo:
            _add_demo(app)
        return app

    def _call_itself(self) -> None:
        if self._own_calls.possible():
            own = self._own_calls
            self._loopback = Loopback(lambda: own.place(self._settings), self._metrics)
            self._loopback.start()
        else:
            why = "transceiver.reachable_ip is no address of this machine"
            log.warning("loopback.left_out", reason=why)

    def _counters(self) -> Mapping[str, int] | None:
        if not self._engine.running:
            return None
        counters = self._engine.engine.counters()
        # The engine may have let go of our own a moment before we hear of it.
        counters["sessions"] = max(counters["sessions"] - self._own_calls.sessions, 0)
        return counters


def _add_demo(app: FastAPI) -> None:
    folder = Path(str(files("firsthop") / "demo"))

    @app.middleware("http")
    async def secure(request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        if request.url.path == "/" or request.url.path.startswith("/demo/"):
            response.headers.update(_SECURITY_HEADERS)
        return response

    @app.head("/", include_in_schema=False)
    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(folder / "index.html")

    app.mount("/demo", StaticFiles(directory=folder), name="demo")
