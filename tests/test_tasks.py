"""Tasks that are ended by who began them."""

from __future__ import annotations

import asyncio

import pytest

from firsthop.tasks import cancel, raise_failure


class Work:
    """A task that takes its time to end."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
            while not self.may_end.is_set():
                try:
                    await self.may_end.wait()
                except asyncio.CancelledError:
                    continue


async def begun() -> Work:
    """Work that is under way."""
    work = Work()
    await asyncio.sleep(0)
    return work


async def value() -> int:
    return 1


async def mistake() -> None:
    raise ValueError("a mistake")


async def test_tasks_are_over_when_they_were_cancelled() -> None:
    works = [await begun(), await begun()]
    cancelling = asyncio.create_task(cancel(*(work.task for work in works)))
    for work in works:
        await work.cancelled.wait()
    works[0].may_end.set()
    await asyncio.wait({works[0].task})
    assert not cancelling.done()
    works[1].may_end.set()
    outcomes = await cancelling
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 2
    assert all(work.task.cancelled() for work in works)


async def test_what_was_over_before_stays_as_it_was() -> None:
    done, failed = asyncio.create_task(value()), asyncio.create_task(mistake())
    await asyncio.wait({done, failed})
    outcome, error = await cancel(done, failed)
    assert outcome == 1
    assert isinstance(error, ValueError)


async def test_there_may_be_none() -> None:
    assert await cancel() == []


async def test_who_is_cancelled_meanwhile_leaves_no_task_and_is_cancelled() -> None:
    work, after = await begun(), False

    async def end() -> None:
        nonlocal after
        await cancel(work.task)
        after = True

    ending = asyncio.create_task(end())
    await work.cancelled.wait()
    ending.cancel()
    await asyncio.sleep(0)
    assert not ending.done()
    work.may_end.set()
    await asyncio.wait({ending})
    assert work.task.done()
    assert ending.cancelled()
    assert not after


async def test_the_first_failure_is_raised_and_a_cancellation_is_none() -> None:
    waiting = asyncio.create_task(asyncio.Event().wait())
    failed = asyncio.create_task(mistake())
    await asyncio.wait({failed})
    outcomes = await cancel(waiting, failed)
    raise_failure(outcomes[:1])
    with pytest.raises(ValueError, match="a mistake"):
        raise_failure(outcomes)
