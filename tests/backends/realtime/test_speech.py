"""What a server says, on its way to the call."""

from __future__ import annotations

import asyncio

from firsthop.backends.realtime.speech import Speech

SECOND = bytes(48_000)


async def test_pieces_come_as_they_are_added_until_the_end() -> None:
    speech = Speech()
    speech.add(b"ab")
    heard = aiter(speech)
    assert await anext(heard) == b"ab"
    following = asyncio.ensure_future(anext(heard))
    await asyncio.sleep(0)
    assert not following.done()
    speech.add(b"c")
    assert await following == b"c"
    speech.end()
    assert [piece async for piece in heard] == []


async def test_an_hour_does_not_come_at_once() -> None:
    speech = Speech(clock=lambda: 0.0)
    for _ in range(3600):
        speech.add(SECOND)
    heard = aiter(speech)
    for _ in range(61):
        await anext(heard)
    following = asyncio.ensure_future(anext(heard))
    await asyncio.sleep(0)
    assert not following.done()
    following.cancel()


async def test_time_that_passes_lets_more_come() -> None:
    now = [0.0]
    speech = Speech(clock=lambda: now[0])
    for _ in range(100):
        speech.add(SECOND)
    speech.end()
    heard = aiter(speech)
    for _ in range(61):
        await anext(heard)
    now[0] = 50.0
    assert len([piece async for piece in heard]) == 39


async def test_who_waits_until_it_is_taken_waits_no_longer_than_somebody_takes() -> None:
    speech = Speech(paced=False)
    taken: list[bytes] = []

    async def take() -> None:
        async for piece in speech:
            taken.append(piece)

    speech.add(b"1")
    speech.add(b"2")
    taking = asyncio.create_task(take())
    await speech.taken()
    assert taken == [b"1", b"2"]
    taking.cancel()
    speech.add(b"3")
    waiting = asyncio.create_task(speech.taken())
    await asyncio.sleep(0)
    assert not waiting.done()
    speech.abandon()
    await waiting
