"""How many requests are on their way, and when there are none."""

from __future__ import annotations

import asyncio
from types import TracebackType


class UnderWay:
    """Counts what runs within its `with` blocks."""

    def __init__(self) -> None:
        self._number = 0
        self._none = asyncio.Event()
        self._none.set()

    def __len__(self) -> int:
        return self._number

    def __enter__(self) -> None:
        self._number += 1
        self._none.clear()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._number -= 1
        if not self._number:
            self._none.set()

    async def none(self) -> None:
        """Wait until nothing is under way."""
        await self._none.wait()
