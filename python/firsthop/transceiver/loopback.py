"""Whether a transceiver can be called: it calls itself, and is not ready until that works.

A process that answers HTTP may still have an engine that is stuck, a socket that nothing reaches,
or keys that do not fit. A call finds out, because it needs them all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from firsthop.tasks import cancel
from firsthop.telemetry.metrics import Metrics
from firsthop.transceiver.owncall import OwnCallError

log = structlog.get_logger()

#: From one good call to the next, in seconds; after a bad one it is tried again sooner.
_EVERY: Final = 10.0
_AGAIN: Final = 1.0
#: Calls in a row that came to nothing after which a transceiver that was ready no longer is.
_FAILURES: Final = 2


class Standing:
    """What calls so far say. Until one has gone well, the transceiver cannot be called."""

    def __init__(self) -> None:
        self._failures = _FAILURES
        self._reason = "not tried yet"

    @property
    def problem(self) -> str | None:
        """Why the transceiver cannot be called, as far as is known; None if it can."""
        return self._reason if self._failures >= _FAILURES else None

    def note(self, reason: str | None) -> None:
        """Take how a call went: None is well."""
        if reason is None:
            self._failures = 0
        else:
            self._failures, self._reason = self._failures + 1, reason


class Loopback:
    """Calls the transceiver from `start` to `stop`.

    Args:
        place: Places one call, and returns how long it took in seconds. Raises `OwnCallError`.
        metrics: Where it is told how calls go.
    """

    def __init__(self, place: Callable[[], Awaitable[float]], metrics: Metrics) -> None:
        self._place = place
        self._metrics = metrics
        self._standing = Standing()
        #: Whether it was told that calls fail, so that there is something to take back.
        self._told = False
        self._task: asyncio.Task[None] | None = None

    @property
    def problem(self) -> str | None:
        """Why the transceiver is not ready; None if it is."""
        reason = self._standing.problem
        return None if reason is None else f"loopback: {reason}"

    def start(self) -> None:
        """Begin, on the running loop."""
        self._task = asyncio.create_task(self._run(), name="loopback")

    async def stop(self) -> None:
        """End. A call under way is hung up."""
        task, self._task = self._task, None
        if task is not None:
            await cancel(task)

    async def check(self) -> bool:
        """Place one call; return whether it went well."""
        before = self._standing.problem
        reason = None
        try:
            self._metrics.loopback_seconds.set(await self._place())
        except OwnCallError as error:
            reason = str(error)
            self._metrics.loopback_failures.inc()
        self._standing.note(reason)
        now = self._standing.problem
        if now is not None and now != before:
            log.warning("loopback.failed", reason=now, effect="not ready for calls")
        elif now is None and self._told:
            log.info("loopback.back")
        self._told = now is not None
        return reason is None

    async def _run(self) -> None:
        while True:
            went_well = await self.check()
            await asyncio.sleep(_EVERY if went_well else _AGAIN)
