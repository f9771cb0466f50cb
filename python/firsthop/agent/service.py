"""The agent as a service of the process: calls by WebSocket, each answered by the voice agent."""

from __future__ import annotations

import structlog
from fastapi import FastAPI

from firsthop.agent.load import load
from firsthop.agent.voice import VoiceAgent
from firsthop.calls.callid import CallIds
from firsthop.calls.calls import Calls
from firsthop.config import Settings
from firsthop.signaling import application, description, reference
from firsthop.signaling.desk import Desk
from firsthop.signaling.realtime import socket_routes
from firsthop.speech import activity
from firsthop.telemetry import http as operations
from firsthop.telemetry.metrics import Metrics

log = structlog.get_logger()


class AgentService:
    """Runs one agent service: `prepare`, then serve `app`, then `stop`.

    It holds nothing but its calls, so there may be as many as one likes, behind any balancer of
    WebSockets.

    Args:
        settings: All settings; `agent` is what it is about.
        metrics: The process's metrics.
        agent: Who answers; by default, whom the settings describe.
    """

    def __init__(
        self, settings: Settings, metrics: Metrics, agent: VoiceAgent | None = None
    ) -> None:
        self._settings = _as_served(settings)
        self._metrics = metrics
        self._agent = agent if agent is not None else load(settings.agent, metrics)
        ids = CallIds.of(self._settings)
        self.calls = Calls(self._settings, self._agent, metrics, ids)
        self._ready = False

    async def prepare(self) -> None:
        """Prepare the stages and the tools, and load the turn detector.

        Raises:
            FirsthopError: Calls could not be answered; says what to do.
        """
        await self._agent.prepare()
        activity.warm_up()
        self._ready = True
        log.info("agent.ready", listen=self._settings.signaling.listen)

    def drain(self, deadline: float) -> None:
        """Take no new calls from now on. Those that there are go on."""
        self.calls.drain()

    async def drained(self) -> None:
        """Return once all calls are over."""
        await self.calls.over()

    @property
    def under_way(self) -> int:
        """The calls."""
        return len(self.calls)

    async def stop(self) -> None:
        """Hang up, and let go of everything."""
        await self.calls.close()
        await self._agent.close()
        if self._ready:
            log.info("agent.stopped")
        self._ready = False

    def problem(self) -> str | None:
        """Why the service is not ready for new calls, or None."""
        if not self._ready:
            return "not started"
        return self.calls.problem

    def app(self) -> FastAPI:
        """The HTTP side."""
        app = FastAPI(
            title="firsthop agent",
            summary="A voice agent that speaks the Realtime API by WebSocket.",
            version="1",
            docs_url=None,
            redoc_url=None,
        )
        desk = Desk.of(self._settings, self.calls, self._metrics)
        application.guard(app, self._settings, desk, self._metrics)
        app.include_router(socket_routes(desk))
        app.include_router(operations.routes(self._metrics, self.problem))
        description.complete(app)
        reference.add(app)
        return app


def _as_served(settings: Settings) -> Settings:
    """The settings of calls and signaling, as they are for this service."""
    agent = settings.agent
    named = agent.chat.model if agent.chat.url is not None else "firsthop-agent"
    signaling = settings.signaling.model_copy(
        update={
            "listen": agent.listen,
            "api_keys": agent.api_keys,
            "reachable": None,
            "client_events": None,
        }
    )
    return settings.model_copy(
        update={
            "signaling": signaling,
            "transceiver": settings.transceiver.model_copy(
                update={"max_sessions": agent.max_calls}
            ),
            "realtime": settings.realtime.model_copy(update={"model": named}),
            "backend": "realtime",
        }
    )
