"""How a part ends without harm: it wants nothing new, and what is under way comes to its end.

One implementation for all parts. The first SIGTERM begins it, and it is over when nothing is left
and everybody has heard of it, or `drain_seconds` have passed. Meanwhile HTTP is served as before,
with two differences: /readyz says 503, which is the part's own to say, and connections are not
kept, so that who asks again is taken elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, Protocol

import structlog
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from firsthop.telemetry.metrics import Metrics

log = structlog.get_logger()

#: A drain takes so long at least: gateways ask each second, and by then have heard of it. Whoever
#: ended at once would break off requests that are on their way to it.
_HEARD_SECONDS: Final = 3.0


class Part(Protocol):
    """What can be drained."""

    def drain(self, deadline: float) -> None:
        """Want nothing new from now on, and say so when asked whether it is ready.

        Args:
            deadline: When whatever is left then will be ended, by the running loop's clock.
        """

    async def drained(self) -> None:
        """Return once nothing is under way any more."""

    @property
    def under_way(self) -> int:
        """How much is: calls, flows, or requests."""


class Draining:
    """Drains one part, once.

    Args:
        name: What the part is called in the log.
        part: The part.
        seconds: How long it takes at most; 0: the part is not drained.
        metrics: Where it is told that the part drains.
    """

    def __init__(self, name: str, part: Part, seconds: float, metrics: Metrics) -> None:
        self._name = name
        self._part = part
        self._seconds = seconds
        self._gauge = metrics.draining
        self._begun = False

    @property
    def wanted(self) -> bool:
        """Whether it is still to be done, should the part be asked to end."""
        return self._seconds > 0 and not self._begun

    @property
    def begun(self) -> bool:
        """Whether the part drains, or has."""
        return self._begun

    async def run(self) -> None:
        """Drain the part. Cancelled, it leaves the part as it is: wanting nothing new."""
        part, deadline = self._part, asyncio.get_running_loop().time() + self._seconds
        self._begun = True
        self._gauge.set(1)
        part.drain(deadline)
        log.info("drain.begun", part=self._name, seconds=self._seconds, under_way=part.under_way)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await asyncio.gather(part.drained(), asyncio.sleep(_HEARD_SECONDS))
        finally:
            log.info("drain.ended", part=self._name, left=part.under_way)


class ClosesConnections:
    """ASGI middleware: no connection is kept that has had its answer while a part drains.

    Args:
        app: What is served.
        draining: Whether it drains.
    """

    def __init__(self, app: ASGIApp, draining: Draining) -> None:
        self._app = app
        self._draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start" and self._draining.begun:
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        await self._app(scope, receive, sent if scope["type"] == "http" else send)
