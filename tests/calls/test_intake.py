"""What an end sends, in its order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from calls.conversation import until
from firsthop.calls.intake import MAX_WAITING_BYTES, Intake
from firsthop.errors import EventError

RATE = 16_000
PIECE = RATE * 2 // 10


class Diary:
    """What was done, in order."""

    def __init__(self) -> None:
        self.notes: list[object] = []
        self.intake = Intake(RATE, self.notes.append)

    def sound(self, pcm: bytes) -> None:
        """Have sound come, noting when it is decoded."""

        def decode() -> bytes:
            self.notes.append("decoded")
            return pcm

        self.intake.sound(len(pcm), decode)

    def event(self, name: str) -> None:
        """Have an event come."""
        self.intake.event(self.noting(name))

    def noting(self, name: str) -> Callable[[], None]:
        """A deed."""
        return lambda: self.notes.append(name)

    async def until(self, name: str) -> None:
        """Let the loop run until this was done."""
        await until(lambda: name in self.notes)


async def test_an_event_is_done_at_once_when_nothing_waits() -> None:
    diary = Diary()
    diary.event("one")
    assert diary.notes == ["one"]


async def test_what_comes_behind_sound_waits_until_it_was_heard() -> None:
    diary = Diary()
    long = bytes(range(256)) * (PIECE * 5 // 512)
    diary.sound(long)
    diary.event("one")
    diary.sound(b"ab")
    diary.event("two")
    assert diary.notes == []
    await diary.until("two")
    heard = [note for note in diary.notes if isinstance(note, bytes)]
    assert [len(pcm) for pcm in heard] == [PIECE, PIECE, len(long) - 2 * PIECE, 2]
    assert b"".join(heard) == long + b"ab"
    assert diary.notes == ["decoded", *heard[:3], "one", "decoded", b"ab", "two"]


async def test_others_get_their_turn_between_two_pieces() -> None:
    diary = Diary()
    diary.sound(bytes(3 * PIECE))
    diary.event("end")
    loop = asyncio.get_running_loop()

    def other() -> None:
        diary.notes.append("other")
        if "end" not in diary.notes:
            loop.call_soon(other)

    loop.call_soon(other)
    await diary.until("end")
    kinds = [note if isinstance(note, str) else "sound" for note in diary.notes]
    assert kinds[:6] == ["decoded", "sound", "other", "sound", "other", "sound"]


async def test_more_than_can_be_kept_is_refused_and_nothing_of_it_taken() -> None:
    diary = Diary()
    half = MAX_WAITING_BYTES // 2
    diary.intake.sound(half, lambda: b"ab")
    diary.intake.sound(half, lambda: b"cd")
    with pytest.raises(EventError) as error:
        diary.sound(b"x")
    assert error.value.code == "input_audio_buffer_full"
    diary.event("end")
    await diary.until("end")
    assert diary.notes == [b"ab", b"cd", "end"]
    diary.sound(b"ef")
    diary.event("room again")
    await diary.until("room again")
    assert b"ef" in diary.notes


async def test_a_deed_that_fails_does_not_hold_up_what_follows() -> None:
    diary = Diary()

    def failing() -> None:
        raise ZeroDivisionError

    problems: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: problems.append(context.get("exception")))
    diary.sound(b"ab")
    diary.intake.event(failing)
    diary.event("end")
    await diary.until("end")
    assert diary.notes == ["decoded", b"ab", "end"]
    assert [type(problem) for problem in problems] == [ZeroDivisionError]


async def test_nothing_is_heard_after_the_end() -> None:
    diary = Diary()
    diary.sound(bytes(3 * PIECE))
    diary.event("end")
    diary.intake.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert diary.notes == []
