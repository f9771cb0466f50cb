"""When a caller is asked to go on elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from firsthop.calls import leaving as module
from firsthop.calls.leaving import Leaving

SOON, LATE = 0.0, 60.0


class Room:
    """Where somebody speaks or not, and what happened."""

    def __init__(self) -> None:
        self.quiet = True
        self.done: list[str] = []
        self.news = asyncio.Event()
        self.leaving = Leaving(lambda: self.quiet, lambda: self._do("hung up"))

    def begin(self, latest: float = LATE) -> None:
        """Have the caller be asked within so many seconds."""
        at = asyncio.get_running_loop().time() + latest
        self.leaving.begin(at, lambda: self._do("asked"))

    def _do(self, what: str) -> None:
        self.done.append(what)
        self.news.set()

    async def until_done(self) -> list[str]:
        """Wait for the next thing; return all of them."""
        await self.news.wait()
        self.news.clear()
        return self.done


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let every wait be over in the next round of the loop."""
    monkeypatch.setattr(module, "_QUIET_SECONDS", 0.0)
    monkeypatch.setattr(module, "_STAY_SECONDS", 0.0)
    yield


async def rounds() -> None:
    """Let everything run that is due."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.usefixtures("at_once")
async def test_where_nobody_speaks_the_caller_is_asked() -> None:
    room = Room()
    room.begin()
    assert room.done == [], "somebody may be about to speak"
    assert await room.until_done() == ["asked"]


@pytest.mark.usefixtures("at_once")
async def test_who_speaks_is_waited_for() -> None:
    room = Room()
    room.quiet = False
    room.begin()
    await rounds()
    room.leaving.noticed()
    await rounds()
    assert room.done == []
    room.quiet = True
    room.leaving.noticed()
    assert await room.until_done() == ["asked"]


@pytest.mark.usefixtures("at_once")
async def test_a_moment_of_silence_is_no_quiet() -> None:
    room = Room()
    room.begin()
    room.quiet = False
    room.leaving.noticed()
    room.quiet = True
    await rounds()
    assert room.done == [], "nothing has been noticed since"
    room.leaving.noticed()
    assert await room.until_done() == ["asked"]


async def test_who_never_pauses_is_asked_in_time() -> None:
    room = Room()
    room.quiet = False
    room.begin(SOON)
    assert await room.until_done() == ["asked"]


@pytest.mark.usefixtures("at_once")
async def test_nobody_is_asked_twice() -> None:
    room = Room()
    room.begin()
    room.begin()
    await room.until_done()
    room.begin(SOON)
    room.leaving.noticed()
    await rounds()
    assert room.done == ["asked"]


@pytest.mark.usefixtures("at_once")
async def test_before_a_drain_nothing_is_noticed() -> None:
    room = Room()
    room.leaving.noticed()
    await rounds()
    assert room.done == []


@pytest.mark.usefixtures("at_once")
async def test_a_call_that_was_left_is_hung_up_and_nobody_is_asked_any_more() -> None:
    room = Room()
    room.begin(SOON)
    assert not room.leaving.left
    room.leaving.let_go()
    assert room.leaving.left
    room.begin(SOON)
    assert await room.until_done() == ["hung up"]
    await rounds()
    assert room.done == ["hung up"]


@pytest.mark.usefixtures("at_once")
async def test_once_the_call_is_over_nothing_follows() -> None:
    room = Room()
    room.begin(SOON)
    room.leaving.let_go()
    room.leaving.stop()
    await rounds()
    assert room.done == []
