"""Events of the engine on their way to the sessions they are for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import cast

import pytest

from calls.fake_engine import FakeEngine
from firsthop._native import Event, OpusPacket, open_token
from firsthop.addresses import Candidates, own_address
from firsthop.config import AudioSettings, Settings, TransceiverSettings
from firsthop.errors import OfferError, SessionClosed, TokenError
from firsthop.transceiver import engine as module
from firsthop.transceiver.engine import EngineLoop

KEY = "ab" * 32
OFFER = (Path(__file__).parents[1] / "offer.sdp").read_text().replace("\n", "\r\n")
LISTENING = TransceiverSettings(listen="127.0.0.1:0", advertise=("198.51.100.1:3478",))


@pytest.fixture
async def loop(monkeypatch: pytest.MonkeyPatch) -> EngineLoop:
    monkeypatch.setattr(module, "Engine", FakeEngine)
    loop = EngineLoop(Settings(keys={0: KEY}))
    loop.start()
    return loop


@pytest.fixture
def engine(loop: EngineLoop) -> Iterator[FakeEngine]:
    engine = cast(FakeEngine, loop.engine)
    yield engine
    engine.stop()


class Inbox:
    """A session's handler."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Event] = asyncio.Queue()

    def __call__(self, event: Event) -> None:
        self.events.put_nowait(event)


async def test_each_event_goes_to_the_session_it_is_for(
    loop: EngineLoop, engine: FakeEngine
) -> None:
    one, other = Inbox(), Inbox()
    assert loop.accept("offer", one, 16_000) == (1, "answer to offer")
    loop.accept("offer", other, 16_000)
    engine.report(Event.Connected(2), Event.Message(1, "hi"), Event.Connected(99))
    assert isinstance(await other.events.get(), Event.Connected)
    assert isinstance(await one.events.get(), Event.Message)
    assert one.events.empty()
    assert other.events.empty()


async def test_a_closed_session_hears_nothing_more(loop: EngineLoop, engine: FakeEngine) -> None:
    inbox, witness = Inbox(), Inbox()
    loop.accept("offer", inbox, 16_000)
    loop.accept("offer", witness, 16_000)
    engine.report(Event.Closed(1, "hung_up"), Event.Connected(1), Event.Connected(2))
    await witness.events.get()
    assert isinstance(inbox.events.get_nowait(), Event.Closed)
    assert inbox.events.empty()


async def test_a_session_that_fails_is_closed_and_the_others_go_on(
    loop: EngineLoop, engine: FakeEngine
) -> None:
    def failing(event: Event) -> None:
        raise ZeroDivisionError

    witness = Inbox()
    loop.accept("offer", failing, 16_000)
    loop.accept("offer", witness, 16_000)
    engine.report(Event.Connected(1), Event.Closed(1, "hung_up"), Event.Connected(2))
    assert isinstance(await witness.events.get(), Event.Connected)
    assert engine.notes == [("close", 1)], "a session that is closed is not closed again"


async def test_a_failing_session_is_closed_when_the_engine_keeps_up_again(
    loop: EngineLoop, engine: FakeEngine
) -> None:
    def failing(event: Event) -> None:
        raise ZeroDivisionError

    witness = Inbox()
    loop.accept("offer", failing, 16_000)
    loop.accept("offer", witness, 16_000)
    engine.overloads = 1
    engine.report(Event.Connected(1), Event.Message(1, "hi"), Event.Connected(2))
    await witness.events.get()
    assert engine.notes == [("close", 1)]


async def test_stopping_tells_every_session_that_it_is_closed(
    loop: EngineLoop, engine: FakeEngine
) -> None:
    inbox = Inbox()
    loop.accept("offer", inbox, 16_000)
    loop.stop()
    loop.stop()
    closed = inbox.events.get_nowait()
    assert isinstance(closed, Event.Closed)
    assert closed.reason == "hung_up"
    assert inbox.events.empty()
    assert engine.stopped
    assert not loop.running


async def test_an_offer_that_is_refused_leaves_no_handler(
    loop: EngineLoop, engine: FakeEngine
) -> None:
    inbox = Inbox()
    engine.refusal = OfferError("no audio", 3)
    with pytest.raises(OfferError, match="line 3"):
        loop.accept("offer", inbox, 16_000)
    loop.stop()
    assert inbox.events.empty()


async def test_a_session_without_a_sample_rate_keeps_its_sound_in_opus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "Engine", FakeEngine)
    loop = EngineLoop(Settings(keys={0: KEY}, audio=AudioSettings(frame_ms=60)))
    loop.start()
    engine = cast(FakeEngine, loop.engine)
    line, _ = loop.answer("offer", Inbox(), None)
    packet = OpusPacket(b"\xf8\xff\xfe")
    line.play(7, [packet], complete=True)
    assert engine.accepted == [{"frame_ms": 60}]
    assert engine.notes == [("play_opus", 1, 7, (packet,), True)]
    loop.stop()


async def test_the_engine_takes_no_bytes_for_packets() -> None:
    transceiver = TransceiverSettings(listen="127.0.0.1:0")
    loop = EngineLoop(Settings(keys={0: KEY}, transceiver=transceiver))
    loop.start()
    try:
        packets = [OpusPacket(b"\xf8\1"), b"\xf8\1"]
        with pytest.raises(TypeError, match="packet 1: expected OpusPacket, found bytes"):
            loop.engine.play_opus(0, 0, packets, complete=True)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="Sequence"):
            loop.engine.play_opus(0, 0, iter(packets), complete=True)  # type: ignore[arg-type]
    finally:
        loop.stop()


async def test_an_engine_that_does_not_run_says_so() -> None:
    loop = EngineLoop(Settings(keys={0: KEY}))
    assert not loop.running
    with pytest.raises(RuntimeError, match="not running"):
        loop.accept("offer", Inbox(), 16_000)
    loop.stop()


async def test_answers_name_this_machine_unless_addresses_are_set(engine: FakeEngine) -> None:
    assert engine.options["advertised"] == [f"{own_address()}:3478"]
    assert engine.options["advertised_tcp"] == []


@pytest.mark.parametrize("sample_rate", [16_000, None])
async def test_a_session_can_have_candidates_of_its_own(
    loop: EngineLoop, engine: FakeEngine, sample_rate: int | None
) -> None:
    near = Candidates(("192.0.2.1:3478", "192.0.2.2:3478"), ("192.0.2.1:443",))
    loop.answer("offer", Inbox(), sample_rate, candidates=near)
    loop.answer("offer", Inbox(), sample_rate)
    assert engine.candidates == [(near.udp, near.tcp), (None, None)]


async def test_answers_name_a_sessions_own_candidates_in_their_order() -> None:
    loop = EngineLoop(Settings(keys={0: KEY}, transceiver=LISTENING))
    loop.start()
    try:
        near = Candidates(("192.0.2.1:1", "[2001:db8::1]:2", "192.0.2.2:3"), ("192.0.2.1:443",))
        _, answer = loop.accept(OFFER, Inbox(), 16_000, candidates=near)
        assert candidates_of(answer) == list(near.udp + near.tcp)
        _, answer = loop.accept(OFFER, Inbox(), None)
        assert candidates_of(answer) == ["198.51.100.1:3478"]
        with pytest.raises(ValueError, match='advertised_tcp: "nowhere"'):
            loop.accept(OFFER, Inbox(), 16_000, candidates=Candidates((), ("nowhere",)))
    finally:
        loop.stop()


async def test_new_tokens_are_sealed_under_the_new_key() -> None:
    old, new = bytes.fromhex(KEY), bytes.fromhex("cd" * 32)
    loop = EngineLoop(Settings(keys={0: KEY}, transceiver=LISTENING))
    loop.start()
    try:
        assert opens(loop, 0, old)
        loop.set_keys(MappingProxyType({0: old, 1: new}), 0)
        assert opens(loop, 0, old)
        loop.set_keys({0: old, 1: new}, 1)
        assert opens(loop, 1, new)
        assert not opens(loop, 0, old)
        with pytest.raises(ValueError, match="key_id: there is no key under 2"):
            loop.set_keys({1: new}, 2)
        with pytest.raises(ValueError, match="32 bytes"):
            loop.set_keys({1: new[1:]}, 1)
        assert opens(loop, 1, new)
    finally:
        loop.stop()


def opens(loop: EngineLoop, key_id: int, master: bytes) -> bool:
    """Whether a relay that has this key alone can read a new session's token."""
    _, answer = loop.accept(OFFER, Inbox(), 16_000)
    line = next(line for line in answer.splitlines() if line.startswith("a=ice-ufrag:"))
    ufrag = line.removeprefix("a=ice-ufrag:")
    try:
        open_token(master=master, key_id=key_id, ufrag=ufrag, unix_seconds=int(time.time()))
    except TokenError:
        return False
    return True


def candidates_of(answer: str) -> list[str]:
    """The addresses that an answer names, the most preferred first."""
    lines = [line.split() for line in answer.splitlines() if line.startswith("a=candidate:")]
    lines.sort(key=lambda line: int(line[3]), reverse=True)
    assert len({line[3] for line in lines}) == len(lines), "no two priorities are equal"
    return [
        f"[{line[4]}]:{line[5]}" if ":" in line[4] else f"{line[4]}:{line[5]}" for line in lines
    ]


async def test_offers_in_mid_call_are_answered_in_their_order(
    loop: EngineLoop, engine: FakeEngine
) -> None:
    loop.accept("offer", Inbox(), 16_000)
    loop.accept("offer", Inbox(), 16_000)
    asked = [loop.renegotiate(1, "a"), loop.renegotiate(2, "b"), loop.renegotiate(1, "c")]
    waiting = [asyncio.ensure_future(one) for one in asked]
    await engine.until("renegotiate", 1, "c")
    engine.report(
        Event.Renegotiated(1, "to a", None, None),
        Event.Renegotiated(1, None, "no audio", 3),
        Event.Renegotiated(2, "to b", None, None),
    )
    assert await waiting[0] == "to a"
    assert await waiting[1] == "to b"
    with pytest.raises(OfferError, match="line 3: no audio"):
        await waiting[2]


async def test_who_gives_up_waiting_leaves_the_answer_of_the_next_offer_alone(
    loop: EngineLoop, engine: FakeEngine
) -> None:
    loop.accept("offer", Inbox(), 16_000)
    first = asyncio.ensure_future(loop.renegotiate(1, "a"))
    second = asyncio.ensure_future(loop.renegotiate(1, "b"))
    await engine.until("renegotiate", 1, "b")
    first.cancel()
    engine.report(
        Event.Renegotiated(1, "to a", None, None), Event.Renegotiated(1, "to b", None, None)
    )
    assert await second == "to b"


async def test_an_offer_to_a_session_that_ends_is_not_waited_for(
    loop: EngineLoop, engine: FakeEngine
) -> None:
    loop.accept("offer", Inbox(), 16_000)
    waiting = asyncio.ensure_future(loop.renegotiate(1, "a"))
    await engine.until("renegotiate", 1, "a")
    engine.report(Event.Closed(1, "client_closed"))
    with pytest.raises(SessionClosed, match="client_closed"):
        await waiting
    with pytest.raises(SessionClosed):
        await loop.renegotiate(1, "again")
