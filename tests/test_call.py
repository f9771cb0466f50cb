"""`Call` on a line that only takes notes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from doubles import Line
from firsthop.call import (
    AudioFrame,
    CallEvent,
    Message,
    Place,
    Played,
    SpeechEnded,
    SpeechStarted,
)
from firsthop.errors import SessionClosed

SECOND = bytes(32_000)


def frame(at_ms: int) -> AudioFrame:
    return AudioFrame(pcm=bytes(640), at_ms=at_ms)


async def events(call: Line) -> list[CallEvent]:
    return [event async for event in call]


async def stream(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


class Feed:
    """Pieces that come when the test says so."""

    def __init__(self, *, stubborn: bool = False) -> None:
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._stubborn = stubborn
        self.stopped = asyncio.Event()

    def give(self, piece: bytes | None) -> None:
        self._pieces.put_nowait(piece)

    async def pieces(self) -> AsyncIterator[bytes]:
        while True:
            try:
                piece = await self._pieces.get()
            except asyncio.CancelledError:
                self.stopped.set()
                if not self._stubborn:
                    raise
                piece = b"as if nothing had been"
            if piece is None:
                return
            yield piece


async def test_say_hands_the_whole_speech_to_the_line_and_resolves_when_it_was_played() -> None:
    call = Line()
    playback = call.say(SECOND, text="A second of nothing.")
    assert call.notes == [("play", 0, SECOND, True)]
    assert playback.text == "A second of nothing."
    assert call.speaking
    assert not playback.done
    call.settle(0, 1000)
    assert await playback == Played(ms=1000, interrupted=False)
    assert playback.done
    assert not call.speaking


async def test_a_stream_is_passed_on_piece_by_piece_and_completed() -> None:
    call = Line()
    call.say(stream(b"ab", b"cd"))
    await call.until("play", 0, b"", True)
    assert call.notes == [
        ("play", 0, b"", False),
        ("play", 0, b"ab", False),
        ("play", 0, b"cd", False),
        ("play", 0, b"", True),
    ]


async def test_a_stream_keeps_its_place_before_what_is_said_after_it() -> None:
    call, feed = Line(), Feed()
    call.say(feed.pieces())
    call.say(SECOND)
    feed.give(b"late")
    feed.give(None)
    await call.until("play", 0, b"", True)
    order = dict.fromkeys(note[1] for note in call.notes)
    assert list(order) == [0, 1], "the line speaks in the order of first pieces"


async def test_pieces_that_break_within_a_sample_arrive_as_whole_samples() -> None:
    call = Line()
    call.say(stream(b"a", b"bcd", b"", b"ef", b"ghi"))
    await call.until("play", 0, b"", True)
    assert call.heard(0) == b"abcdefgh", "half a sample at the end is nothing to play"
    pieces = [note[2] for note in call.notes]
    assert all(isinstance(piece, bytes) and len(piece) % 2 == 0 for piece in pieces)


async def test_interrupt_tells_how_much_of_each_was_played_in_the_order_of_say() -> None:
    call = Line()
    for _ in range(3):
        call.say(SECOND)
    interrupting = asyncio.create_task(call.interrupt())
    await call.until("flush")
    call.settle(1, 0, interrupted=True)
    call.settle(0, 250, interrupted=True)
    call.settle(2, 0, interrupted=True)
    assert [played.ms for played in await interrupting] == [250, 0, 0]
    assert not call.speaking


async def test_interrupting_silence_asks_nothing_of_the_line() -> None:
    call = Line()
    assert await call.interrupt() == []
    assert call.notes == []


@pytest.mark.parametrize("stubborn", [False, True], ids=["obedient", "stubborn"])
async def test_a_feeder_adds_nothing_after_a_flush(stubborn: bool) -> None:
    call, feed = Line(), Feed(stubborn=stubborn)
    playback = call.say(feed.pieces())
    feed.give(b"ab")
    await call.until("play", 0, b"ab", False)
    interrupting = asyncio.create_task(call.interrupt())
    await call.until("flush")
    feed.give(b"cd")
    feed.give(None)
    await feed.stopped.wait()
    assert playback._feeder is not None
    await asyncio.wait([playback._feeder])
    call.settle(0, 20, interrupted=True)
    assert await interrupting == [Played(ms=20, interrupted=True)]
    assert call.notes[-1] == ("flush",)


async def test_a_stream_that_never_started_is_settled_by_an_interruption_too() -> None:
    call, feed = Line(), Feed()
    playback = call.say(feed.pieces())
    assert call.notes == [("play", 0, b"", False)], "the engine knows what it has to settle"
    interrupting = asyncio.create_task(call.interrupt())
    await call.until("flush")
    call.settle(0, 0, interrupted=True)
    assert await playback == Played(ms=0, interrupted=True)
    assert await interrupting == [Played(ms=0, interrupted=True)]
    assert call.notes == [("play", 0, b"", False), ("flush",)]


async def test_what_the_pieces_raise_reaches_whoever_awaits_the_playback() -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"ab"
        raise ConnectionError("the voice is gone")

    call = Line()
    playback = call.say(failing())
    await call.until("play", 0, b"", True)
    assert call.heard(0) == b"ab"
    call.settle(0, 1)
    with pytest.raises(ConnectionError, match="the voice is gone"):
        await playback


async def test_an_interruption_hides_what_the_pieces_raised() -> None:
    async def failing() -> AsyncIterator[bytes]:
        raise ConnectionError
        yield b""

    call = Line()
    call.say(failing())
    await call.until("play", 0, b"", True)
    interrupting = asyncio.create_task(call.interrupt())
    await call.until("flush")
    call.settle(0, 0, interrupted=True)
    assert await interrupting == [Played(ms=0, interrupted=True)]


async def test_a_stream_waits_for_a_line_that_does_not_keep_up() -> None:
    call, feed = Line(), Feed()
    call.say(feed.pieces())
    call.overloads = 2
    feed.give(b"ab")
    feed.give(b"cd")
    feed.give(None)
    await call.until("play", 0, b"", True)
    assert call.heard(0) == b"abcd"


async def test_whoever_stops_waiting_does_not_stop_the_speech() -> None:
    call = Line()
    playback = call.say(SECOND)

    async def listener() -> Played:
        return await playback

    listening = asyncio.create_task(listener())
    listening.cancel()
    await asyncio.wait([listening])
    assert listening.cancelled()
    assert not playback.done
    call.settle(0, 1000)
    assert (await playback).ms == 1000


async def test_everything_awaited_resolves_at_the_end_of_the_call() -> None:
    call, feed = Line(), Feed()
    whole, streamed = call.say(SECOND), call.say(feed.pieces())
    interrupting = asyncio.create_task(call.interrupt())
    listening = asyncio.create_task(events(call))
    await call.until("flush")
    call.end()
    nothing = Played(ms=0, interrupted=True)
    assert await whole == await streamed == nothing
    assert await interrupting == [nothing, nothing]
    assert await listening == []
    assert call.ended == "client_closed"
    assert not call.speaking


async def test_account_that_comes_after_the_end_changes_nothing() -> None:
    call = Line()
    playback = call.say(SECOND)
    call.end()
    call.settle(0, 1000)
    assert await playback == Played(ms=0, interrupted=True)


async def test_saying_something_after_the_end_raises_why_it_ended() -> None:
    call = Line()
    call.end("consent_lost")
    with pytest.raises(SessionClosed) as closed:
        call.say(SECOND)
    assert closed.value.reason == "consent_lost"
    assert call.notes == []


async def test_hanging_up_after_the_end_does_nothing() -> None:
    call = Line()
    call.hang_up()
    call.end()
    call.hang_up()
    assert call.notes == [("close",)]


async def test_events_come_in_order_and_those_before_the_end_are_not_lost() -> None:
    call = Line()
    expected: list[CallEvent] = [frame(0), SpeechStarted(10), frame(20), SpeechEnded(30, b"ab")]
    call.deliver(*expected)
    call.end()
    assert await events(call) == expected


async def test_an_agent_that_waits_wakes_for_each_event() -> None:
    call = Line()
    heard: asyncio.Queue[CallEvent] = asyncio.Queue()

    async def agent() -> None:
        async for event in call:
            heard.put_nowait(event)

    listening = asyncio.create_task(agent())
    for at_ms in (0, 20, 40):
        call.deliver(frame(at_ms))
        assert await heard.get() == frame(at_ms)
    call.end()
    await listening


async def test_a_slow_agent_loses_old_sound_but_never_what_happened() -> None:
    call = Line()
    what_happened: list[CallEvent] = []
    for second in range(60):
        message = Message({"type": "note", "second": second})
        call.deliver(message, *(frame(second * 1000 + at_ms) for at_ms in range(0, 1000, 20)))
        what_happened.append(message)
    call.end()
    left = await events(call)
    assert [event for event in left if not isinstance(event, AudioFrame)] == what_happened
    frames = [event for event in left if isinstance(event, AudioFrame)]
    assert len(left) == 500
    assert frames == [frame(at_ms) for at_ms in range(60_000 - 20 * len(frames), 60_000, 20)]


async def test_whoever_waits_for_sound_to_flow_learns_when_it_does() -> None:
    call = Line()
    connecting = asyncio.create_task(call.connected())
    await asyncio.sleep(0)
    assert not connecting.done()
    call.connect()
    await connecting
    await call.connected()


async def test_whoever_waits_for_sound_learns_that_the_call_ended_before() -> None:
    call = Line()
    connecting = asyncio.create_task(call.connected())
    await asyncio.sleep(0)
    call.end("setup_timeout")
    with pytest.raises(SessionClosed, match="setup_timeout"):
        await connecting


async def test_an_event_is_done_with_when_the_agent_comes_back() -> None:
    call = Line()
    expected: list[CallEvent] = [frame(0), SpeechStarted(10), frame(20)]
    call.deliver(*expected)
    async for event in call:
        assert call.handled == expected[: expected.index(event)]
        if event is expected[1]:
            break
    assert call.handled == expected[:1], "the agent is still at it"
    async for event in call:
        assert event is expected[2]
        assert call.handled == expected[:2]
        break
    call.end()
    assert await events(call) == []
    assert call.handled == expected


async def test_what_was_announced_already_knows_its_place() -> None:
    call = Line()
    playback = call.play(SECOND, response_id="resp", item_id="item", content_index=1)
    assert playback.place == Place("resp", "item", content_index=1)
    assert call.say(SECOND).place is None
    assert call.notes == [("play", 0, SECOND, True), ("play", 1, SECOND, True)]
    call.end()


async def test_an_agent_that_never_listens_does_not_fill_the_memory() -> None:
    call = Line()
    call.deliver(*(Message({"type": "note", "number": number}) for number in range(2000)))
    call.end()
    left = await events(call)
    assert len(left) == 500
    assert left[-1] == Message({"type": "note", "number": 1999})


async def test_sound_does_not_show_in_a_repr() -> None:
    assert repr(frame(20)) == "AudioFrame(at_ms=20)"
    assert "secret" not in repr(SpeechEnded(at_ms=20, audio=b"secret"))
