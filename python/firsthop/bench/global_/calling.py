"""Calls from afar in every way: how they come about, and what their media goes through."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from firsthop.bench.benchmark import Progress
from firsthop.bench.errors import BenchError
from firsthop.bench.global_.caller import Call
from firsthop.bench.global_.measures import Media, SetUp
from firsthop.bench.global_.ways import Way
from firsthop.bench.setup.browser import Browser

_SEED: Final = 7
#: Calls that may fail: more are no accident.
_MAX_FAILURES: Final = 3


@dataclass(frozen=True)
class Calling:
    """A browser far from the cluster."""

    browser: Browser
    ways: Sequence[Way]
    headers: Mapping[str, str]
    """What its requests carry."""
    sent: Callable[[], int]
    """How many datagrams it has sent so far to who relays."""
    progress: Progress
    set_ups: dict[str, list[SetUp]] = field(default_factory=lambda: defaultdict(list))
    media: dict[str, list[Media]] = field(default_factory=lambda: defaultdict(list))
    failures: list[str] = field(default_factory=list)

    async def call(self, runs: int) -> None:
        """Place calls in all ways, in turns, `runs` of each after one to warm up.

        Raises:
            BenchError: Too many fail.
        """
        order = random.Random(_SEED)
        for number in range(runs + 1):
            for way in order.sample(self.ways, len(self.ways)):
                self.progress(f"set-up: {way.name}")
                try:
                    async with self.browser.page(way.origin, self.headers) as page:
                        found = await SetUp.of(page, way, self.sent)
                except BenchError as error:
                    self.failures.append(f"{way.name}: a call failed: {error}")
                    if len(self.failures) > _MAX_FAILURES:
                        raise BenchError(self.failures[-1]) from None
                else:
                    if number:
                        self.set_ups[way.name].append(found)

    async def listen(self, calls: int, seconds: float) -> None:
        """See what media goes through in all ways.

        Raises:
            BenchError: A call fails.
        """
        for _ in range(calls):
            for way in self.ways:
                self.progress(f"media: {way.name}")
                async with self.browser.page(way.origin, self.headers) as page:
                    call = await Call.place(page, way)
                    await asyncio.sleep(seconds)
                    self.media[way.name].append(await Media.of(call))
                    await page.do("hangUp")
