"""The ends of a call's event channel: what each is told, what it may send, and how much."""

from __future__ import annotations

import asyncio
import json

import pytest

from calls.conversation import FRAME, Conversation, EventEnd, Listener, idle, until
from firsthop._native import Event
from firsthop.call import Message
from firsthop.calls import seats as module
from firsthop.calls.seats import Seat
from firsthop.calls.terms import Terms
from firsthop.errors import OverloadedError

UPDATE = '{"type": "session.update", "session": {}}'


async def test_sidebands_are_told_everything_that_the_caller_is() -> None:
    conversation, sideband = Conversation(idle), EventEnd()
    conversation.connect()
    conversation.call.join(sideband)
    conversation.call.say(FRAME, text="Hello.")
    conversation.ask("session.update", session={"instructions": "Be brief."})
    assert sideband.events[1:] == conversation.events[1:], "to the very ids"
    assert sideband.types[0] == "session.created"
    conversation.call.receive(sideband, UPDATE)
    assert conversation.events[-1] == sideband.events[-1]
    await conversation.end()
    assert sideband.closed


async def test_who_joins_late_is_greeted_with_the_session_as_it_is() -> None:
    conversation, sideband = Conversation(idle), EventEnd()
    conversation.connect()
    conversation.ask("session.update", session={"instructions": "Be brief."})
    conversation.call.join(sideband)
    assert sideband.events[0]["session"]["instructions"] == "Be brief."
    await conversation.end()


async def test_an_error_is_told_to_the_end_that_erred_and_no_other() -> None:
    conversation, sideband = Conversation(idle), EventEnd()
    conversation.connect()
    conversation.call.join(sideband)
    conversation.call.receive(sideband, "nonsense")
    assert sideband.types == ["session.created", "error"]
    conversation.report(Event.Message(1, "nonsense"))
    assert conversation.told() == ["session.created", "error"]
    assert len(sideband.events) == 2
    await conversation.end()


async def test_only_who_wants_sound_in_events_gets_it() -> None:
    conversation, deaf, hearing = Conversation(idle), EventEnd(), EventEnd(wants_audio=True)
    conversation.connect()
    conversation.call.join(deaf)
    conversation.call.join(hearing)
    conversation.call.say(FRAME)
    assert len(hearing.all("response.output_audio.delta")) == 1
    for types in (deaf.types, conversation.told()):
        assert "response.output_audio.delta" not in types
        assert "response.output_audio.done" in types
    await conversation.end()


async def test_each_end_may_send_what_its_terms_allow() -> None:
    listener = Listener()
    terms = Terms(client_events=frozenset({"response.cancel", "weather.ask"}))
    conversation, sideband = Conversation(listener, terms=terms), EventEnd()
    conversation.connect()
    conversation.call.join(sideband)
    [refusal] = conversation.ask("session.update", session={}, event_id="evt")
    error = refusal["error"]
    assert (error["code"], error["param"]) == ("event_not_allowed", "type")
    assert (error["type"], error["event_id"]) == ("invalid_request_error", "evt")
    conversation.ask("weather.ask")
    [refusal] = conversation.ask("input_audio_buffer.append", audio="AAAA")
    assert refusal["error"]["code"] == "event_not_allowed"
    conversation.call.receive(sideband, UPDATE)
    assert sideband.types == ["session.created", "session.updated"]
    await conversation.end()
    assert listener.all(Message) == [Message({"type": "weather.ask"})]


async def test_who_has_left_is_neither_told_nor_heard() -> None:
    conversation, sideband = Conversation(idle), EventEnd()
    conversation.connect()
    conversation.call.join(sideband)
    conversation.call.leave(sideband)
    conversation.call.leave(sideband)
    conversation.call.receive(sideband, UPDATE)
    conversation.call.say(FRAME)
    assert sideband.types == ["session.created"]
    await conversation.end()
    assert not sideband.closed


async def test_nothing_is_heard_after_the_end() -> None:
    conversation, sideband = Conversation(idle), EventEnd()
    conversation.connect()
    conversation.call.join(sideband)
    await conversation.end()
    conversation.call.receive(sideband, UPDATE)
    assert sideband.types == ["session.created"]


async def test_an_end_that_sends_too_much_is_told_so_once() -> None:
    conversation, sideband = Conversation(idle), EventEnd()
    conversation.connect()
    conversation.call.join(sideband)
    for _ in range(2000):
        conversation.call.receive(sideband, UPDATE)
    answered = len(sideband.all("session.updated"))
    # The loop's clock goes on while the test runs, a little.
    assert 500 <= answered < 1000
    [refusal] = sideband.all("error")
    assert refusal["error"]["code"] == "rate_limit_exceeded"
    assert conversation.all("error") == []
    assert conversation.ask("session.update", session={})[0]["type"] == "session.updated"
    await conversation.end()


class SlowLoop:
    """The running loop, at a time that the test chooses."""

    now = 0.0

    def time(self) -> float:
        return self.now


async def test_who_calms_down_is_heard_and_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = SlowLoop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    seat = Seat(EventEnd())
    assert [seat.admits() for _ in range(501)] == [True] * 500 + [False]
    assert (seat.complains(), seat.complains()) == (True, False)
    loop.now = 1.0
    assert [seat.admits() for _ in range(101)] == [True] * 100 + [False]
    assert not seat.complains(), "it has not calmed down"
    loop.now = 4.0
    assert seat.admits()
    assert seat.complains()
    loop.now = 1000.0
    assert sum(seat.admits() for _ in range(1000)) == 500, "no credit for a long silence"


async def test_sound_is_not_counted_but_nonsense_for_sound_is() -> None:
    conversation = Conversation(idle)
    conversation.connect()
    for _ in range(1000):
        conversation.ask("input_audio_buffer.append", audio="AAAA")
    await until(lambda: not conversation.call._reception._intake._waiting)
    assert conversation.all("error") == []
    for _ in range(1000):
        conversation.ask("input_audio_buffer.append", audio="?")
    await until(lambda: not conversation.call._reception._intake._waiting)
    codes = [event["error"]["code"] for event in conversation.all("error")]
    assert codes.count("rate_limit_exceeded") == 1
    assert 400 < codes.count("invalid_audio") < 700
    await conversation.end()


async def test_sidebands_of_a_call_are_bounded() -> None:
    conversation = Conversation(idle)
    conversation.connect()
    ends = [EventEnd() for _ in range(module._MAX_ENDS)]
    for end in ends[:-1]:
        conversation.call.join(end)
    with pytest.raises(OverloadedError, match="at most 16"):
        conversation.call.join(ends[-1])
    conversation.call.leave(ends[0])
    conversation.call.join(ends[-1])
    await conversation.end()


async def test_a_refusal_has_an_id_of_its_own() -> None:
    conversation = Conversation(idle)
    conversation.connect()
    refusals = [conversation.ask("session.update")[0] for _ in range(2)]
    assert len({json.dumps(event["event_id"]) for event in refusals}) == 2
    await conversation.end()
