"""A flow cache that does what the test wants: answers, fails, or takes for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from firsthop.flowcache.base import Flow, FlowCacheError, Owner


class FakeCache:
    """Stands in for a flow cache."""

    def __init__(self) -> None:
        self.entries: dict[Flow, Owner] = {}
        self.failing = False
        self.answering = asyncio.Event()
        """Cleared: whoever asks has to wait."""
        self.answering.set()
        self.closed = False
        self.asked: list[set[Flow]] = []
        """Each `find`."""
        self.calls = 0
        """How often anything was asked of it."""

    def use(self, masters: Mapping[int, bytes], key_id: int) -> None:
        """Do nothing: what it keeps is not sealed."""

    async def connect(self) -> None:
        """Do nothing."""

    async def keep(self, entries: Sequence[tuple[Flow, Owner]]) -> None:
        """Keep entries."""
        await self._called()
        self.entries.update(entries)

    async def drop(self, flows: Sequence[Flow]) -> None:
        """Drop entries."""
        await self._called()
        for flow in flows:
            self.entries.pop(flow, None)

    async def find(self, flows: Collection[Flow]) -> dict[Flow, Owner]:
        """Find entries."""
        self.asked.append(set(flows))
        await self._called()
        return {flow: self.entries[flow] for flow in flows if flow in self.entries}

    async def close(self) -> None:
        """Take note."""
        self.closed = True

    async def _called(self) -> None:
        self.calls += 1
        await self.answering.wait()
        if self.failing:
            raise FlowCacheError("a test")
