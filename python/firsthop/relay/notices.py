"""What the data plane tells the control plane, and what becomes of it.

One wake-up, all notices that wait: questions go to the flow cache, news of flows into it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Protocol

import structlog

from firsthop import _native as native
from firsthop.flowcache.base import Flow, FlowCache, FlowCacheError, Owner
from firsthop.flowcache.breaker import Breaker
from firsthop.relay.lookups import LookUps, Question
from firsthop.relay.writes import Writes
from firsthop.tasks import cancel
from firsthop.telemetry.metrics import Metrics

log = structlog.get_logger()


class DataPlane(Protocol):
    """The part of the native relay that notices come from and answers go to."""

    def fileno(self) -> int:
        """A descriptor that is readable when notices wait."""

    def take_notices(self) -> Sequence[native.Notice]:
        """All notices that wait, oldest first."""

    def answer(self, worker: int, flow: Flow, owner: Owner | None) -> bool:
        """Answer a look-up, with None when nobody knows; False when the worker has no room."""


class Notices:
    """Serves a relay's notices from `start` to `stop`.

    Args:
        relay: The data plane.
        cache: The flow cache; `stop` closes it.
        budget: How long an answer may take, in seconds.
        metrics: Where outcomes are counted.
    """

    def __init__(self, relay: DataPlane, cache: FlowCache, budget: float, metrics: Metrics) -> None:
        self._relay = relay
        self._descriptor = relay.fileno()
        self._cache = cache
        self._metrics = metrics
        breaker = Breaker(self._breaker_changed)
        self._lookups = LookUps(cache, breaker, relay.answer, budget, metrics)
        self._writes = Writes(cache, breaker, metrics)
        self._tasks: list[asyncio.Task[None]] = []

    def use(self, masters: Mapping[int, bytes], key_id: int) -> None:
        """Seal what goes into the cache under other keys from now on."""
        self._cache.use(masters, key_id)

    def start(self) -> None:
        """Listen for notices on the running loop."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._connect()), loop.create_task(self._writes.run())]
        loop.add_reader(self._descriptor, self._take)

    async def stop(self) -> None:
        """Take no more notices, give up what is on its way, and close the cache.

        To be called while the data plane still runs, for it is answered until here.
        """
        asyncio.get_running_loop().remove_reader(self._descriptor)
        await cancel(*self._tasks)
        await self._lookups.stop()
        await self._cache.close()

    async def _connect(self) -> None:
        # Right after a start is when look-ups matter most, and they have no time to connect.
        with contextlib.suppress(FlowCacheError):
            await self._cache.connect()

    def _take(self) -> None:
        woken = asyncio.get_running_loop().time()
        questions: list[Question] = []
        for notice in self._relay.take_notices():
            match notice:
                case native.Notice.LookUp(worker, flow):
                    questions.append((worker, flow))
                case native.Notice.Kept(flow, owner):
                    self._writes.note(flow, owner)
                case native.Notice.Gone(flow):
                    self._writes.note(flow, None)
        self._lookups.ask(questions, woken)

    def _breaker_changed(self, failure: str | None) -> None:
        self._metrics.flow_cache_breaker_open.set(failure is not None)
        if failure is None:
            log.info("flow_cache.back")
        else:
            log.warning("flow_cache.given_up", reason=failure)
