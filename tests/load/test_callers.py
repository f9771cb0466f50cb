"""The load clients against an engine in this process that sends everything back."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator

import pytest

from e2e.waiting import until
from firsthop._native import CallerReport, Callers, decode, encode
from firsthop.errors import OfferError
from load.echoes import RATE, SOUND, Echo, echoing, tone


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    with echoing() as echo:
        yield echo


@pytest.fixture
async def callers() -> AsyncIterator[Callers]:
    callers = Callers(local="127.0.0.1", threads=2, sound=SOUND, marks=[10], channel="oai-events")
    yield callers
    await asyncio.to_thread(callers.stop)


def place(callers: Callers, echo: Echo, *, talks: bool = True, listens: bool = False) -> int:
    caller, offer = callers.offer(talks=talks, listens=listens)
    callers.answer(caller, echo.answer(offer))
    return caller


async def test_callers_connect_talk_and_hear_themselves(callers: Callers, echo: Echo) -> None:
    ids = [place(callers, echo, listens=number == 0) for number in range(4)]
    callers.send(ids[0], "hello")

    def report() -> CallerReport:
        return callers.call(ids[0])

    await until(lambda: bool(report().delays_ms) and report().messages == 1, "a mark and a message")
    await until(lambda: callers.totals()["connected"] == 4, "the others")
    assert report().state == "connected"
    assert report().failure is None
    assert report().stages_ms.keys() == {"ice", "connected", "channel", "audio"}
    assert min(report().stages_ms.values()) > 0
    assert min(report().delays_ms) > 0
    assert not callers.call(ids[1]).delays_ms
    totals = callers.totals()
    assert totals["connected"] == 4
    assert totals["messages"] == 1
    assert totals["received"] <= totals["sent"]
    assert sum(callers.gaps()) > 0
    assert len(callers.gaps()) == 2000
    assert callers.longest_gap_ms() > 10
    first_s, newest_s = report().heard_s or (0.0, 0.0)
    assert 0 < first_s < newest_s <= report().at_s


async def test_measuring_begins_anew_but_keeps_the_stages(callers: Callers, echo: Echo) -> None:
    caller = place(callers, echo)
    await until(lambda: callers.call(caller).received >= 10, "ten packets")
    await until(lambda: len(callers.call(caller).stages_ms) == 4, "all stages")
    before = callers.call(caller)
    callers.measure()
    after = callers.call(caller)
    assert after.received < before.received
    assert after.stages_ms == before.stages_ms


async def test_one_that_does_not_talk_is_connected_and_sends_nothing(
    callers: Callers, echo: Echo
) -> None:
    idle, talker = place(callers, echo, talks=False), place(callers, echo)
    await until(lambda: callers.call(talker).received >= 25, "25 packets")
    await until(lambda: callers.call(idle).state == "connected", "the other one")
    assert callers.call(idle).sent == 0


async def test_the_server_hears_who_hangs_up_and_the_caller_is_forgotten(
    callers: Callers, echo: Echo
) -> None:
    caller, other = place(callers, echo), place(callers, echo)
    await until(lambda: callers.totals()["connected"] == 2, "two calls")
    sent = callers.totals()["sent"]
    callers.hang_up(caller)
    with pytest.raises(LookupError, match=f"no caller {caller}"):
        callers.call(caller)
    await until(lambda: echo.closed == ["client_closed"], "the end of the call")
    assert callers.callers() == [other]
    assert callers.totals()["sent"] >= sent, "what it sent stays counted"


async def test_it_tells_that_the_server_closed(callers: Callers, echo: Echo) -> None:
    caller = place(callers, echo)
    # A client is connected half a round trip before its server, which has nothing to close yet.
    await until(lambda: callers.call(caller).received, "a call, both ways")
    echo.loop.stop()
    await until(lambda: callers.call(caller).state == "closed", "the end of it")
    assert callers.call(caller).failure == "closed_by_server"
    assert callers.totals()["closed"] == 1


async def test_who_is_over_and_why_is_told_until_it_is_forgotten(
    callers: Callers, echo: Echo
) -> None:
    caller = place(callers, echo)
    await until(lambda: callers.call(caller).received, "a call, both ways")
    assert callers.over() == []
    echo.loop.stop()
    await until(lambda: callers.over() == [(caller, "closed_by_server")], "the end of it")
    callers.hang_up(caller)
    await until(lambda: callers.over() == [], "nobody asks for it any more")


async def test_messages_that_are_wanted_are_told_once_with_whom_they_came_to(echo: Echo) -> None:
    callers = Callers(
        local="127.0.0.1", threads=2, sound=SOUND, marks=[], channel="x", wanted="move"
    )
    ids = [place(callers, echo) for _ in range(2)]
    for caller in ids:
        callers.send(caller, "stay")
        callers.send(caller, f"move {caller}")
    await until(lambda: callers.totals()["messages"] == 4, "all messages")
    assert sorted(callers.messages()) == [(caller, f"move {caller}") for caller in ids]
    assert callers.messages() == []
    await asyncio.to_thread(callers.stop)


async def test_packets_that_come_back_as_they_were_are_counted(
    callers: Callers, echo: Echo
) -> None:
    caller = place(callers, echo)
    await until(lambda: callers.call(caller).returned >= 40, "a loop, and part of another")
    assert callers.totals()["returned"] >= 40
    assert callers.totals()["unreturned"] == 0


async def test_an_offer_waits_for_its_answer_or_is_refused(callers: Callers) -> None:
    caller, offer = callers.offer()
    assert "a=candidate:" in offer
    assert "m=application" in offer
    assert callers.call(caller).state == "waiting"
    assert callers.totals()["waiting"] == 1
    callers.refuse(caller)
    assert callers.callers() == []
    with pytest.raises(LookupError):
        callers.answer(caller, "")


async def test_an_answer_that_cannot_be_used_is_an_offer_error(
    callers: Callers, echo: Echo
) -> None:
    caller, _ = callers.offer()
    with pytest.raises(OfferError, match="the answer cannot be used"):
        callers.answer(caller, "v=0\r\n")
    assert callers.callers() == []
    answered = place(callers, echo)
    with pytest.raises(LookupError, match="has its answer"):
        callers.answer(answered, "")
    with pytest.raises(LookupError, match="has its answer"):
        callers.refuse(answered)


async def test_callers_without_a_channel_offer_none() -> None:
    callers = Callers(local="127.0.0.1", threads=1, sound=[], marks=[], channel=None)
    _, offer = callers.offer()
    callers.stop()
    assert "m=application" not in offer
    with pytest.raises(RuntimeError, match="stopped"):
        callers.offer()


@pytest.mark.parametrize(
    ("local", "threads", "sound", "marks", "message"),
    [
        ("localhost", 1, SOUND, [], "local"),
        ("127.0.0.1", 0, SOUND, [], "threads"),
        ("127.0.0.1", 1, [*SOUND, b""], [], r"sound\[30\]"),
        ("127.0.0.1", 1, SOUND, [30], "no packet 30"),
    ],
)
def test_what_callers_cannot_use_is_refused(
    local: str, threads: int, sound: list[bytes], marks: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Callers(local=local, threads=threads, sound=sound, marks=marks, channel=None)


def test_an_address_that_is_not_this_machines_is_an_os_error() -> None:
    callers = Callers(local="192.0.2.1", threads=1, sound=SOUND, marks=[], channel=None)
    with pytest.raises(OSError, match=r"192\.0\.2\.1"):
        callers.offer()
    callers.stop()


@pytest.mark.parametrize("packet_ms", [10, 20, 40, 60])
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_becomes_packets_and_sound_again(packet_ms: int, channels: int) -> None:
    pcm = array("h", (sample for sample in tone(120, 440, 8_000) for _ in range(channels)))
    packets = encode(
        pcm.tobytes(),
        rate=RATE,
        bitrate=32_000,
        complexity=5,
        packet_ms=packet_ms,
        channels=channels,
        fec=True,
        loss_percent=10,
    )
    assert len(packets) == 120 // packet_ms
    heard = array("h", decode(packets, rate=48_000))
    assert len(heard) == 120 * 48
    assert max(heard) > 6_000


def test_what_is_no_sound_is_refused() -> None:
    with pytest.raises(ValueError, match="odd"):
        encode(b"1", rate=RATE, bitrate=24_000, complexity=5, packet_ms=20)
    with pytest.raises(ValueError, match="packet_ms"):
        encode(b"", rate=RATE, bitrate=24_000, complexity=5, packet_ms=30)
    with pytest.raises(ValueError, match=r"packets\[1\]"):
        decode([SOUND[0], b""], rate=RATE)
