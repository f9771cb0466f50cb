"""What waits for a bot that does not keep up."""

from __future__ import annotations

import asyncio

from firsthop.backends.pipecat.frames import Audio, Frame, Interruption, Message
from firsthop.backends.pipecat.outbox import Outbox


def second(number: int) -> Audio:
    return Audio(bytes([number]) * 32_000, 16_000)


async def test_frames_leave_in_their_order() -> None:
    outbox = Outbox()
    frames: list[Frame] = [second(1), Message("{}"), second(2), Interruption()]
    assert all(outbox.put(frame) for frame in frames)
    assert [await outbox.get() for _ in frames] == frames


async def test_who_waits_gets_what_comes() -> None:
    outbox = Outbox()
    waiting = asyncio.ensure_future(outbox.get())
    await asyncio.sleep(0)
    assert not waiting.done()
    outbox.put(second(1))
    assert await waiting == second(1)


async def test_only_the_newest_sound_is_kept_and_every_message() -> None:
    outbox = Outbox()
    outbox.put(Message("{}"))
    for number in range(10):
        outbox.put(second(number))
    assert outbox.lost_seconds == 5
    left = [await outbox.get() for _ in range(6)]
    assert left == [Message("{}"), *(second(number) for number in range(5, 10))]


async def test_there_is_no_room_for_endless_messages() -> None:
    outbox = Outbox()
    while outbox.put(Message("{}")):
        pass
    assert outbox.put(second(1))
    await outbox.get()
    assert outbox.put(Message("{}"))
    assert not outbox.put(Message("{}"))
