"""A data plane without packets: reports what the test tells it to, and takes note of answers."""

from __future__ import annotations

import asyncio
import socket

from firsthop._native import Notice

Answered = tuple[int, bytes, bytes | None]


class FakeDataPlane:
    """Stands in for the native relay."""

    def __init__(self) -> None:
        self.answers: list[Answered] = []
        """Every answer, in order: worker, flow, owner."""
        self._waiting: list[Notice] = []
        self._near, self._far = socket.socketpair()
        self._answered = asyncio.Event()

    def report(self, *notices: Notice) -> None:
        """Have notices wait."""
        self._waiting += notices
        self._far.send(b"!")

    async def answered(self, count: int = 1) -> list[Answered]:
        """Wait until so many answers are there, and return and forget all."""
        while len(self.answers) < count:
            self._answered.clear()
            await self._answered.wait()
        answers, self.answers = self.answers, []
        return answers

    def close(self) -> None:
        """Close what is open."""
        self._near.close()
        self._far.close()

    def fileno(self) -> int:
        """Readable when notices wait."""
        return self._near.fileno()

    def take_notices(self) -> list[Notice]:
        """All notices that wait."""
        self._near.recv(4096)
        notices, self._waiting = self._waiting, []
        return notices

    def answer(self, worker: int, flow: bytes, owner: bytes | None) -> bool:
        """Take note."""
        self.answers.append((worker, flow, owner))
        self._answered.set()
        return True
