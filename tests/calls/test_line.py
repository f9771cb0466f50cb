"""The clock of a call whose caller plays the sound himself. The test says what time it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from calls.fake_engine import FakeEngine, no_offers
from firsthop._native import Event
from firsthop.calls.line import SocketLine
from firsthop.transceiver.line import EngineLine

RATE = 16_000
SECOND = bytes(2 * RATE)


class Timer:
    """Something to be done later."""

    def __init__(self, at: float, deed: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self.at = at
        self.deed = deed
        self.arguments = arguments
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class ManualLoop:
    """A loop whose time passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, deed: Callable[..., object], *arguments: object) -> Timer:
        return self.call_later(0, deed, *arguments)

    def call_later(self, delay: float, deed: Callable[..., object], *arguments: object) -> Timer:
        self.timers.append(Timer(self.now + delay, deed, arguments))
        return self.timers[-1]

    def run(self, seconds: float = 0.0) -> None:
        """Let time pass, and everything be done that is due meanwhile."""
        end = self.now + seconds
        for _ in range(10_000):
            due = [timer for timer in self.timers if not timer.cancelled and timer.at <= end]
            if not due:
                self.now = end
                return
            first = min(due, key=lambda timer: timer.at)
            self.timers.remove(first)
            self.now = max(self.now, first.at)
            first.deed(*first.arguments)
        raise AssertionError("it runs in circles")


class Played:
    """A line, and what it told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop = ManualLoop()
        monkeypatch.setattr(asyncio, "get_running_loop", lambda: self.loop)
        self.told: list[tuple[object, ...]] = []
        self.line = SocketLine(RATE, self._tell)

    def _tell(self, event: Event) -> None:
        match event:
            case Event.PlayoutStarted():
                self.told.append(("started", event.utterance))
            case Event.PlayoutEnded():
                self.told.append(("ended", event.utterance, event.played_ms, event.interrupted))
            case Event.Closed():
                self.told.append(("closed", event.reason))


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    return Played(monkeypatch)


def test_an_utterance_lasts_as_long_as_its_sound(played: Played) -> None:
    played.line.play(0, SECOND, complete=True)
    assert played.told == [], "never from within the command"
    played.loop.run()
    assert played.told == [("started", 0)]
    played.loop.run(0.999)
    assert len(played.told) == 1
    played.loop.run(0.001)
    assert played.told[1:] == [("ended", 0, 1000, False)]
    assert not [timer for timer in played.loop.timers if not timer.cancelled], "all is said"


def test_utterances_follow_each_other_without_a_gap(played: Played) -> None:
    for utterance in range(3):
        played.line.play(utterance, SECOND, complete=True)
    played.loop.run(1.5)
    assert played.told == [("started", 0), ("ended", 0, 1000, False), ("started", 1)]
    played.loop.run(1.5)
    assert played.told[-1] == ("ended", 2, 1000, False)


def test_a_stream_that_runs_dry_is_waited_for(played: Played) -> None:
    played.line.play(0, b"", complete=False)
    played.line.play(1, SECOND, complete=True)
    played.loop.run(5)
    assert played.told == []
    played.line.play(0, SECOND, complete=False)
    played.loop.run(5)
    assert played.told == [("started", 0)], "heard, but it may go on"
    played.line.play(0, SECOND, complete=False)
    played.loop.run(0.5)
    played.line.play(0, b"", complete=True)
    played.loop.run(0.4)
    assert played.told == [("started", 0)]
    played.loop.run(0.2)
    assert played.told[1:] == [("ended", 0, 2000, False), ("started", 1)]


def test_a_flush_tells_how_far_each_came(played: Played) -> None:
    for utterance in range(3):
        played.line.play(utterance, SECOND, complete=True)
    played.loop.run(1.25)
    played.told.clear()
    played.line.flush()
    assert played.told == []
    played.loop.run(10)
    assert played.told == [("ended", 1, 250, True), ("ended", 2, 0, True)]


def test_time_in_which_nothing_was_queued_is_not_heard(played: Played) -> None:
    played.loop.run(60)
    played.line.play(0, SECOND, complete=True)
    played.loop.run(0.5)
    played.line.flush()
    played.loop.run()
    assert played.told == [("started", 0), ("ended", 0, 500, True)]


def test_nothing_to_hear_is_over_at_once(played: Played) -> None:
    played.line.play(0, b"", complete=True)
    played.loop.run()
    assert played.told == [("ended", 0, 0, False)]


def test_many_small_pieces_end_in_the_end(played: Played) -> None:
    for number in range(1000):
        played.line.play(0, bytes(2 * (7 + number % 13)), complete=False)
        played.loop.run(0.0003)
    played.line.play(0, b"", complete=True)
    played.loop.run(5)
    samples = sum(7 + number % 13 for number in range(1000))
    assert played.told == [("started", 0), ("ended", 0, round(samples / 16), False)]


def test_hanging_up_is_the_last_that_is_told_once(played: Played) -> None:
    played.line.play(0, SECOND, complete=True)
    played.loop.run(0.1)
    played.line.flush()
    played.line.close()
    played.line.close()
    played.line.play(1, SECOND, complete=True)
    played.line.send("lost")
    played.loop.run(10)
    assert played.told == [("started", 0), ("ended", 0, 100, True), ("closed", "hung_up")]


def test_an_engines_session_is_commanded_by_its_number() -> None:
    engine = FakeEngine()
    line = EngineLine(engine.native, 7, no_offers)
    line.play(0, b"ab", complete=True)
    line.flush()
    line.send("{}")
    line.close()
    assert engine.notes == [
        ("play", 7, 0, b"ab", True),
        ("flush", 7),
        ("send", 7),
        ("close", 7),
    ]
    assert EngineLine.paced
    assert not SocketLine.paced
