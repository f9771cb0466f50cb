"""What the relay learns of its flows, on its way into the flow cache. Nothing ever waits for it."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import Final

from firsthop.flowcache.base import Flow, FlowCache, Owner
from firsthop.flowcache.breaker import Breaker, failure
from firsthop.telemetry.metrics import Metrics

#: Flows that can wait to be written.
CAPACITY: Final = 65_536
#: Flows written at once: about 2 ms of work for this thread, which look-ups may have to wait for.
_BATCH: Final = 64
#: How long the first of a batch waits for others, in seconds.
_LINGER: Final = 0.01


class Writes:
    """Writes the newest state of each flow, in batches.

    A write that is lost is made up for when the data plane next reports the flow, some 30 s on.

    Args:
        cache: Where to write.
        breaker: Whether to write at all.
        metrics: Where outcomes are counted.
    """

    def __init__(self, cache: FlowCache, breaker: Breaker, metrics: Metrics) -> None:
        self._cache = cache
        self._breaker = breaker
        self._count = metrics.flow_cache_writes
        self._waiting: dict[Flow, Owner | None] = {}
        self._some = asyncio.Event()

    def note(self, flow: Flow, owner: Owner | None) -> None:
        """Have a flow written with its owner, or deleted if it has none any more."""
        if flow not in self._waiting and len(self._waiting) >= CAPACITY:
            self._count.labels("dropped").inc()
            return
        self._waiting[flow] = owner
        self._some.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._some.wait()
            await asyncio.sleep(_LINGER)
            while self._waiting:
                await self._write()
            self._some.clear()

    async def _write(self) -> None:
        now = asyncio.get_running_loop().time
        if not self._breaker.allows(now()):
            self._count.labels("dropped").inc(len(self._waiting))
            self._waiting.clear()
            return
        batch = {flow: self._waiting.pop(flow) for flow in list(islice(self._waiting, _BATCH))}
        kept = [(flow, owner) for flow, owner in batch.items() if owner is not None]
        gone = [flow for flow, owner in batch.items() if owner is None]
        try:
            if kept:
                await self._cache.keep(kept)
            if gone:
                await self._cache.drop(gone)
        except Exception as error:
            # The cache promises one kind of error; whatever comes, the writer has to go on.
            self._breaker.failed(now(), failure(error))
            self._count.labels("error").inc(len(batch))
        else:
            self._breaker.succeeded(now())
            self._count.labels("written").inc(len(batch))
