"""A call that goes on elsewhere, and one that began elsewhere: at the seams of one call."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from calls.conversation import (
    FRAME,
    RATE,
    Conversation,
    EventEnd,
    Listener,
    idle,
    settled,
    until,
)
from firsthop._native import Event
from firsthop.backends.function import FunctionBackend
from firsthop.call import AudioFrame, Call, Message, Reply, SpeechEnded, SpeechStarted
from firsthop.calls import leaving as module
from firsthop.calls.callid import CallIds
from firsthop.calls.calls import Calls
from firsthop.calls.past import Past
from firsthop.calls.terms import Terms
from firsthop.config import Settings, TransceiverSettings
from firsthop.errors import UnknownCallError
from firsthop.telemetry.metrics import Metrics
from speech.sentence import silence, spoken

EVENTS = frozenset({"response.create", "session.update"})
QUESTION = {
    "id": "item_1",
    "type": "message",
    "role": "user",
    "status": "completed",
    "content": [{"type": "input_text", "text": "Remember forty-two."}],
}
ANSWER = {
    "id": "item_2",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_audio", "transcript": "I do."}],
}


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a moment without a word be a quiet one."""
    monkeypatch.setattr(module, "_QUIET_SECONDS", 0.0)
    yield


class Sealed:
    """Stands in for client secrets: keeps what was to be sealed."""

    def __init__(self) -> None:
        self.terms: list[Terms] = []

    def __call__(self, terms: Terms, expires_at: int) -> str:
        self.terms.append(terms)
        return f"ek_{len(self.terms)}"


def move_on(conversation: Conversation, *, latest: float = 60.0) -> Sealed:
    """Ask the caller to go within a minute."""
    sealed = Sealed()
    now = asyncio.get_running_loop().time()
    conversation.call.move_on(now + 60, now + latest, sealed)
    return sealed


def asked(conversation: Conversation) -> list[dict[str, Any]]:
    """The requests to go on elsewhere that the caller got."""
    return conversation.all("firsthop.handover")


async def test_a_caller_who_is_quiet_is_asked_at_once_with_a_secret_of_the_calls_own_terms() -> (
    None
):
    conversation = Conversation(idle, terms=Terms(client_events=EVENTS))
    conversation.connect()
    conversation.ask("session.update", session={"instructions": "Be brief."})
    sealed = move_on(conversation)
    await until(lambda: asked(conversation))
    [event] = asked(conversation)
    assert event["client_secret"]["value"] == "ek_1"
    assert isinstance(event["client_secret"]["expires_at"], int)
    assert 50 <= event["seconds"] <= 60
    assert event["event_id"].startswith("event_")
    [terms] = sealed.terms
    assert (terms.continues, terms.client_events) == ("rtc_test", EVENTS)
    assert terms.session["instructions"] == "Be brief."
    assert conversation.count("firsthop_transceiver_handovers_total", result="asked") == 1
    move_on(conversation, latest=0)
    await settled()
    assert len(asked(conversation)) == 1
    await conversation.end()


async def test_sidebands_learn_of_it_and_get_no_secret() -> None:
    conversation, sideband = Conversation(idle), EventEnd()
    conversation.connect()
    conversation.call.join(sideband)
    move_on(conversation)
    await until(lambda: sideband.all("firsthop.handover"))
    [told] = sideband.all("firsthop.handover")
    [event] = asked(conversation)
    assert told == {name: value for name, value in event.items() if name != "client_secret"}

    conversation.call.hand_over("rtc_next")
    [moved] = sideband.all("firsthop.handed_over")
    assert moved["call_id"] == "rtc_next"
    await conversation.end()


async def test_a_caller_by_websocket_gets_the_secret_on_the_socket() -> None:
    conversation = Conversation(idle, socket=EventEnd(wants_audio=True))
    conversation.connect()
    move_on(conversation)
    await until(lambda: asked(conversation))
    assert asked(conversation)[0]["client_secret"]["value"] == "ek_1"
    await conversation.end()


async def test_a_caller_who_speaks_is_asked_when_the_turn_was_answered() -> None:
    release = asyncio.Event()

    async def agent(call: Call) -> None:
        async def answer(reply: Reply) -> None:
            await release.wait()
            reply.say(FRAME, text="Yes.")

        async for event in call:
            if isinstance(event, SpeechEnded):
                call.reply(answer, to=event)

    conversation = Conversation(agent)
    conversation.connect()
    conversation.hear(await spoken(RATE))
    assert "input_audio_buffer.speech_started" in conversation.told()
    move_on(conversation)
    await settled()
    assert not asked(conversation), "the caller speaks"
    conversation.hear(silence(2000, RATE))
    await until(lambda: conversation.all("response.created"))
    await settled()
    assert not asked(conversation), "the caller waits"
    release.set()
    await conversation.engine.until("play", 1, 0, FRAME, True)
    conversation.report(Event.PlayoutStarted(1, 0))
    await settled()
    assert not asked(conversation), "the agent speaks"
    conversation.report(Event.PlayoutEnded(1, 0, 20, False))
    await until(lambda: asked(conversation))
    await conversation.end()


async def test_an_agent_that_never_pauses_does_not_keep_the_caller_from_being_asked() -> None:
    async def singer(call: Call) -> None:
        await call.say(bytes(RATE * 20))

    conversation = Conversation(singer)
    conversation.connect()
    await settled()
    move_on(conversation)
    await settled()
    assert not asked(conversation)
    await conversation.end()

    conversation = Conversation(singer)
    conversation.connect()
    await settled()
    move_on(conversation, latest=0)
    await until(lambda: asked(conversation))
    await conversation.end()


async def test_what_is_handed_over_is_the_session_and_what_was_said() -> None:
    conversation = Conversation(idle)
    conversation.connect()
    conversation.ask("session.update", session={"instructions": "Be brief."})
    conversation.ask("conversation.item.create", item=QUESTION)
    past = conversation.call.hand_over()
    assert past.session == conversation.call.session
    assert [item["id"] for item in past.items] == ["item_1"]
    assert not past.owes_answer
    assert conversation.call.hand_over() == past, "who asks again gets the same"
    await conversation.end()


async def test_a_call_that_was_left_finds_no_turns_and_goes_on_sounding() -> None:
    listener = Listener()
    conversation = Conversation(listener)
    conversation.connect()
    conversation.call.hand_over()
    conversation.hear(await spoken(RATE) + silence(2000, RATE))
    await settled()
    assert not listener.all(SpeechStarted)
    assert not listener.all(SpeechEnded)
    assert listener.all(AudioFrame), "an echo is heard until the other call takes over"
    [error] = conversation.ask("response.create")
    assert error["error"]["code"] == "call_moved"
    assert conversation.ask("response.cancel")[0]["error"]["code"] != "call_moved"
    await conversation.end()


async def test_a_backend_that_finds_turns_itself_hears_nothing_of_a_call_that_was_left() -> None:
    listener = Listener()
    conversation = Conversation(listener, realtime=True, detects_turns=True)
    conversation.connect()
    conversation.call.hand_over()
    conversation.hear(FRAME)
    await settled()
    assert not listener.heard
    await conversation.end()


async def test_a_call_that_was_left_is_hung_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STAY_SECONDS", 0.0)
    conversation = Conversation(idle)
    conversation.connect()
    conversation.call.hand_over()
    await conversation.engine.until("close", 1)
    conversation.close("hung_up")
    await conversation.over.wait()


async def test_an_answer_of_which_nothing_was_heard_is_owed_and_not_given_twice() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def agent(call: Call) -> None:
        async def answer(reply: Reply) -> None:
            try:
                begun.set()
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        async for event in call:
            if isinstance(event, Message) and event.event["type"] == "response.create":
                call.reply(answer, to=event)

    conversation = Conversation(agent)
    conversation.connect()
    conversation.ask("conversation.item.create", item=QUESTION)
    conversation.ask("response.create")
    await begun.wait()
    assert conversation.call.hand_over().owes_answer
    await cancelled.wait()
    assert conversation.all("response.done")[0]["response"]["status"] == "cancelled"
    await conversation.end()


# The call that goes on.


def past(*items: dict[str, Any], owes_answer: bool = False) -> Terms:
    """The terms of a call that goes on."""
    session = {"instructions": "Be brief."}
    left = Past(session=session, items=items, owes_answer=owes_answer)
    return Terms(session=session, continues="rtc_before", past=left)


async def test_a_call_goes_on_where_the_one_before_was_left() -> None:
    conversation = Conversation(idle, terms=past(QUESTION, ANSWER))
    assert conversation.call.continued
    conversation.connect()
    assert conversation.told() == ["session.created"], "the client knows the rest"
    assert conversation.events[0]["session"]["instructions"] == "Be brief."
    assert [item["id"] for item in conversation.call.items] == ["item_1", "item_2"]
    [retrieved] = conversation.ask("conversation.item.retrieve", item_id="item_1")
    assert retrieved["item"] == QUESTION
    added, _ = conversation.ask("conversation.item.create", item={**QUESTION, "id": "item_3"})
    assert added["previous_item_id"] == "item_2"
    await conversation.end()


@pytest.mark.parametrize("terms", [Terms(), past(), past(owes_answer=True)], ids=range(3))
async def test_a_call_of_which_nothing_is_known_begins_as_any_other(terms: Terms) -> None:
    listener = Listener()
    conversation = Conversation(listener, terms=terms)
    assert not conversation.call.continued
    conversation.connect()
    await settled()
    assert not listener.heard
    await conversation.end()


async def test_a_call_whose_conversation_will_be_told_is_known_to_go_on() -> None:
    conversation = Conversation(idle, terms=Terms(continued=True))
    assert conversation.call.continued
    await conversation.end()


async def test_an_answer_that_is_owed_is_given() -> None:
    async def agent(call: Call) -> None:
        async for event in call:
            if isinstance(event, Message):
                assert event.event["type"] == "response.create"
                call.say(FRAME, text=f"Of {len(call.items)} things said.")

    conversation = Conversation(agent, terms=past(QUESTION, owes_answer=True))
    conversation.connect()
    await until(lambda: conversation.all("response.output_audio_transcript.done"))
    [done] = conversation.all("response.output_audio_transcript.done")
    assert done["transcript"] == "Of 1 things said."
    await conversation.end()


async def test_a_realtime_server_is_asked_for_the_answer_that_is_owed() -> None:
    listener = Listener()
    terms = past(QUESTION, owes_answer=True)
    conversation = Conversation(listener, terms=terms, realtime=True)
    conversation.connect()
    await until(lambda: listener.all(Message))
    assert listener.all(Message) == [Message({"type": "response.create"})]
    await conversation.end()


# All calls of a transceiver.


SETTINGS = Settings(keys={0: "ab" * 32}, transceiver=TransceiverSettings(handover_seconds=20))


@pytest.fixture
def calls() -> Calls:
    return Calls(SETTINGS, FunctionBackend(idle), Metrics(), CallIds.of(SETTINGS))


async def test_all_callers_are_asked_and_a_call_that_ends_is_not_in_the_way(calls: Calls) -> None:
    ends = [EventEnd(wants_audio=True) for _ in range(3)]
    ids = [calls.open_socket(end) for end in ends]
    calls.hang_up(ids[0])
    deadline = asyncio.get_running_loop().time() + 20
    calls.move_on(deadline)
    await settled()
    assert not any(end.all("firsthop.handover") for end in ends), "there is no way to ask them"

    calls.seal = Sealed()
    calls.move_on(deadline)
    calls.move_on(deadline)
    await until(lambda: all(end.all("firsthop.handover") for end in ends[1:]))
    assert [len(end.all("firsthop.handover")) for end in ends] == [0, 1, 1]
    await calls.close()


async def test_a_call_that_goes_on_has_the_id_that_the_one_before_was_told(calls: Calls) -> None:
    before = calls.open_socket(EventEnd(wants_audio=True))
    call_id = calls.ids.mint()
    left = calls.hand_over(before, call_id)
    terms = Terms(session=left.session, continues=before, past=left, call_id=call_id)
    assert calls.open_socket(EventEnd(wants_audio=True), terms) == call_id
    lost = Terms(continues="rtc_gone")
    calls.open_socket(EventEnd(wants_audio=True), lost)
    for result in ("continued", "lost"):
        counted = f'firsthop_transceiver_handovers_total{{result="{result}"}} 1.0'
        assert counted in calls._metrics.render().decode()
    await calls.close()


async def test_a_call_that_is_over_leaves_nothing(calls: Calls) -> None:
    with pytest.raises(UnknownCallError):
        calls.hand_over("rtc_gone")
