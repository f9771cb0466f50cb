"""Calls in whose middle something breaks, and what became of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from firsthop.bench.benchmark import Progress
from firsthop.bench.errors import BenchError
from firsthop.bench.global_ import faults
from firsthop.bench.global_.caller import Call
from firsthop.bench.global_.faults import Fault
from firsthop.bench.global_.gaps import Again, From, Gaps
from firsthop.bench.global_.ways import Way
from firsthop.bench.setup.browser import Browser, CallPage

#: Before anything breaks, calls have proved all their paths.
_SETTLE_S: Final = 4.0
_PAUSE_S: Final = 1.0
#: Until what was mended is found to be well again, calls may be placed elsewhere.
_TRIES: Final = 20


@dataclass(frozen=True)
class Breaking:
    """A browser somewhere that calls a cluster."""

    browser: Browser
    source: From
    way: Way
    cluster: int
    """The one that its calls have to be in."""
    headers: Mapping[str, str]
    """What its requests carry."""
    calls: int
    """At the same time."""
    watch_s: float
    """How long each fault is watched."""
    progress: Progress
    gaps: dict[tuple[From, str], list[Gaps]] = field(default_factory=dict)
    again: dict[From, list[Again]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    async def chain(self, breaks: Mapping[str, Fault]) -> None:
        """Break each thing in the middle of calls, and mend it.

        Raises:
            BenchError: A call cannot be placed.
        """
        for name, fault in breaks.items():
            self.progress(f"{name}, {self.source.name}")
            async with self._page() as page:
                if name == faults.REGION:
                    await self._region_gone(page, fault)
                else:
                    await self._in_mid_call(page, fault)

    async def _in_mid_call(self, page: CallPage, fault: Fault) -> None:
        calls = await self._place(page, self.calls)
        begin_ms = await self._happens(fault)
        try:
            await asyncio.sleep(self.watch_s)
            end_ms = time.time() * 1000
            silent = 0
            for call in calls:
                silent += not await call.report()
                gap = Gaps.of(call.heard_ms, await call.arrivals_ms(), begin_ms, end_ms)
                self.gaps.setdefault((self.source, fault.name), []).append(gap)
        finally:
            await asyncio.to_thread(fault.mend)
        if silent:
            self._remark(fault, f"{silent} of {len(calls)} agents did not answer")

    async def _region_gone(self, page: CallPage, fault: Fault) -> None:
        """Lose a call's cluster, wait until the client gives it up, and have it call again."""
        [call] = await self._place(page, 1)
        await self._happens(fault)
        try:
            await call.given_up()
            last_ms = max(await call.arrivals_ms())
            offered_ms = time.time() * 1000
            second = await self._place_elsewhere(page, fault)
            first_ms = min(await second.arrivals_ms())
        finally:
            await asyncio.to_thread(fault.mend)
        again = Again(first_ms - offered_ms, first_ms - last_ms)
        self.again.setdefault(self.source, []).append(again)

    async def _happens(self, fault: Fault) -> float:
        """Break something when calls have settled; return the Unix ms of that."""
        await asyncio.sleep(_SETTLE_S)
        begin_ms = time.time() * 1000
        await asyncio.to_thread(fault.happen)
        return begin_ms

    async def _place(self, page: CallPage, count: int) -> list[Call]:
        """Place calls in the cluster, at once."""
        for _ in range(_TRIES):
            calls = await asyncio.gather(*(Call.place(page, self.way) for _ in range(count)))
            if all(call.cluster == self.cluster for call in calls):
                return calls
            await page.do("hangUp")
            await asyncio.sleep(_PAUSE_S)
        raise BenchError(f"calls are placed elsewhere, and not in cluster {self.cluster}")

    async def _place_elsewhere(self, page: CallPage, fault: Fault) -> Call:
        for tries in range(1, _TRIES):
            try:
                return await Call.place(page, self.way)
            except BenchError as error:
                self._remark(fault, f"call {tries} was refused: {error}")
        return await Call.place(page, self.way)

    @asynccontextmanager
    async def _page(self) -> AsyncIterator[CallPage]:
        """Open a page; in the end its calls are hung up."""
        async with self.browser.page(self.way.origin, self.headers) as page:
            try:
                yield page
            finally:
                await page.do("hangUp")

    def _remark(self, fault: Fault, text: str) -> None:
        self.remarks.append(f"{fault.name}, {self.source.name}: {text}")
