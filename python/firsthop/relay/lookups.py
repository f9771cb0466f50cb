"""Who owns this flow? Asks the flow cache for the data plane, within a budget.

Packets of an unknown flow wait in the data plane, for 50 ms at most, and a flow that nobody knows
may not ask again for a second. So "nobody knows" is said only of what the cache was asked, or what
it is in no state to be asked; a question that comes when there is no room gets no answer, and is
asked again with the client's next packet.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from firsthop.flowcache.base import Flow, FlowCache, Owner
from firsthop.flowcache.breaker import Breaker, failure
from firsthop.tasks import cancel
from firsthop.telemetry.metrics import Metrics

#: Worker that asks, and the flow.
Question = tuple[int, Flow]

#: Questions to the cache at once: about 1.5 ms of work for this thread.
_BATCH: Final = 64
#: Batches within their budget at once, and one more may wait. Beyond that, questions would be late
#: by our own doing.
_BATCHES: Final = 2


class Answer(Protocol):
    """Takes an answer to the worker that asked. Never blocks."""

    def __call__(self, worker: int, flow: Flow, owner: Owner | None) -> bool:
        """Say who owns a flow, None if nobody knows; False when the worker has no room."""


class LookUps:
    """Answers questions from the flow cache.

    Args:
        cache: Whom to ask.
        breaker: Whether to ask at all.
        answer: Where answers go.
        budget: How long an answer may take, from the wake-up that brought the question, in
            seconds. Timers of the event loop may be late by a millisecond, and by whatever else
            it does.
        metrics: Where outcomes are counted.
    """

    def __init__(
        self, cache: FlowCache, breaker: Breaker, answer: Answer, budget: float, metrics: Metrics
    ) -> None:
        self._cache = cache
        self._breaker = breaker
        self._answer = answer
        self._budget = budget
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_time = 0
        self._waiting: deque[tuple[Question, float]] = deque()

    def ask(self, questions: Sequence[Question], woken: float) -> None:
        """Have questions answered that a wake-up brought; `woken` is when, by the loop's clock."""
        self._waiting.extend((question, woken) for question in questions)
        self._launch()
        while len(self._waiting) > _BATCH:
            self._waiting.pop()
            self._metrics.flow_cache_lookups.labels("refused").inc()

    async def stop(self) -> None:
        """Give up what is on its way."""
        await cancel(*self._tasks)

    def _launch(self) -> None:
        while self._waiting and self._in_time < _BATCHES:
            # The oldest question's time counts for all of the batch.
            woken = self._waiting[0][1]
            size = min(len(self._waiting), _BATCH)
            batch = [self._waiting.popleft()[0] for _ in range(size)]
            if not self._breaker.allows(asyncio.get_running_loop().time()):
                self._refuse(batch)
                continue
            self._in_time += 1
            task = asyncio.create_task(self._look_up(batch, woken))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _look_up(self, batch: Sequence[Question], woken: float) -> None:
        now = asyncio.get_running_loop().time
        flows = {flow for _, flow in batch}
        find: asyncio.Task[dict[Flow, Owner]] = asyncio.create_task(self._cache.find(flows))
        try:
            await asyncio.wait({find}, timeout=max(0.0, woken + self._budget - now()))
            self._metrics.flow_cache_lookup_seconds.observe(now() - woken)
            self._in_time -= 1
            in_time = find.done()
            self._settle(batch, find, now())
            self._launch()
            # What is late ends by itself: it may be bringing up the connection for the next one.
            # How many such there are is for the breaker to bound.
            await asyncio.wait({find})
            if find.exception() is None and not in_time:
                self._tell_late(batch, find.result())
        finally:
            await cancel(find)

    def _settle(
        self, batch: Sequence[Question], find: asyncio.Task[dict[Flow, Owner]], now: float
    ) -> None:
        """Answer a batch by what has come of `find`, which may be nothing yet."""
        # Without an answer the relay asks again with a flow's next packets; that nobody knows the
        # flow would be believed for a second.
        if not find.done():
            self._metrics.flow_cache_lookups.labels("timeout").inc(len(batch))
            self._breaker.failed(now, "over budget")
        elif (error := find.exception()) is not None:
            self._metrics.flow_cache_lookups.labels("error").inc(len(batch))
            self._breaker.failed(now, failure(error))
        else:
            self._tell(batch, find.result())
            self._breaker.succeeded(now)

    def _tell(self, batch: Sequence[Question], owners: Mapping[Flow, Owner]) -> None:
        for worker, flow in batch:
            owner = owners.get(flow)
            self._answer(worker, flow, owner)
            self._metrics.flow_cache_lookups.labels("miss" if owner is None else "hit").inc()

    def _tell_late(self, batch: Sequence[Question], owners: Mapping[Flow, Owner]) -> None:
        """Let the flows at least be known from here on; the packets that asked are lost."""
        for worker, flow in batch:
            if (owner := owners.get(flow)) is not None:
                self._answer(worker, flow, owner)

    def _refuse(self, batch: Sequence[Question]) -> None:
        for worker, flow in batch:
            self._answer(worker, flow, None)
        self._metrics.flow_cache_lookups.labels("refused").inc(len(batch))
