"""Who speaks when: the session's turn detection, push-to-talk, and callers who say nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from calls.conversation import FRAME, RATE, SECOND, Conversation, Listener, idle, settled
from firsthop._native import Event
from firsthop.call import AudioFrame, Call, CallerIdle, Message, SpeechEnded, SpeechStarted
from firsthop.calls.listening import turn_rules
from firsthop.calls.terms import Terms
from firsthop.config import Settings, TurnSettings
from firsthop.speech.turns import TurnRules
from speech.sentence import silence, spoken

TURN = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
]
COMMITTED = TURN[2:]


def with_turns(agent: Any = idle, **turn_detection: object) -> Conversation:
    """A call with a turn detection of the client's; nothing: none, so push-to-talk."""
    audio = {"input": {"turn_detection": turn_detection or None}}
    conversation = Conversation(agent, terms=Terms(session={"audio": audio}))
    conversation.connect()
    return conversation


def detect(conversation: Conversation, **turn_detection: object) -> None:
    """Have the client change the turn detection."""
    audio = {"input": {"turn_detection": turn_detection or None}}
    assert conversation.ask("session.update", session={"audio": audio})[0]["type"] == (
        "session.updated"
    )


# Push-to-talk.


async def test_without_detection_the_client_says_where_a_turn_ends() -> None:
    listener = Listener()
    conversation = with_turns(listener)
    speech = await spoken(RATE)
    conversation.hear(speech)
    assert conversation.told() == ["session.created"], "nothing is detected"
    assert [e["type"] for e in conversation.ask("input_audio_buffer.commit")] == COMMITTED
    await settled()
    assert listener.all(SpeechEnded) == [], "it is not asked yet"
    conversation.ask("response.create")
    await settled()
    [turn] = listener.all(SpeechEnded)
    whole = len(speech) // len(FRAME) * len(FRAME)
    assert turn.audio == speech[:whole]
    assert turn.at_ms == whole // 2 * 1000 // RATE
    [committed] = conversation.all("input_audio_buffer.committed")
    assert turn.item_id == committed["item_id"]
    assert listener.all(Message) == []
    assert conversation.told()[-2:] == ["response.created", "response.done"]
    await conversation.end()


async def test_turns_that_were_not_answered_are_answered_together() -> None:
    listener = Listener()
    conversation = with_turns(listener)
    for sound in (b"\x01\x00", b"\x02\x00"):
        conversation.hear(sound * RATE)
        conversation.ask("input_audio_buffer.commit")
    conversation.ask("response.create")
    conversation.ask("response.create")
    await settled()
    [turn] = listener.all(SpeechEnded)
    assert turn.audio == b"\x01\x00" * RATE + b"\x02\x00" * RATE
    assert len(listener.all(Message)) == 1, "the second has nothing to do with sound"
    await conversation.end()


@pytest.mark.parametrize("before", ["nothing", "too little", "cleared"])
async def test_a_commit_of_next_to_nothing_is_refused(before: str) -> None:
    conversation = with_turns()
    if before != "nothing":
        conversation.hear(FRAME * (4 if before == "too little" else 50))
    if before == "cleared":
        [cleared] = conversation.ask("input_audio_buffer.clear")
        assert cleared["type"] == "input_audio_buffer.cleared"
    [refusal] = conversation.ask("input_audio_buffer.commit", event_id="evt")
    assert refusal["error"]["code"] == "input_audio_buffer_commit_empty"
    assert refusal["error"]["event_id"] == "evt"
    # What there was is not lost.
    conversation.hear(FRAME)
    told = [event["type"] for event in conversation.ask("input_audio_buffer.commit")]
    assert told == (COMMITTED if before == "too little" else ["error"])
    await conversation.end()


async def test_what_waits_for_an_answer_is_bounded() -> None:
    listener = Listener()
    conversation = with_turns(listener)
    for _ in range(25):
        conversation.hear(FRAME * 5)
        conversation.ask("input_audio_buffer.commit")
    conversation.ask("response.create")
    await settled()
    [turn] = listener.all(SpeechEnded)
    assert len(turn.audio) == 20 * 5 * len(FRAME)
    await conversation.end()


async def test_changing_to_push_to_talk_in_mid_turn_keeps_the_turn() -> None:
    listener = Listener()
    conversation = Conversation(listener)
    conversation.connect()
    conversation.hear(silence(500, RATE) + await spoken(RATE))
    [begun] = conversation.all("input_audio_buffer.speech_started")
    detect(conversation)
    conversation.hear(silence(2000, RATE))
    assert conversation.all("input_audio_buffer.speech_stopped") == []
    conversation.ask("input_audio_buffer.commit")
    [committed] = conversation.all("input_audio_buffer.committed")
    assert committed["item_id"] == begun["item_id"], "as the client was promised"
    conversation.hear(SECOND)
    conversation.ask("input_audio_buffer.commit")
    again = conversation.all("input_audio_buffer.committed")[1]
    assert again["item_id"] != begun["item_id"]
    await conversation.end()


async def test_changing_from_push_to_talk_detects_turns_again() -> None:
    conversation = with_turns()
    conversation.hear(SECOND * 3)
    detect(conversation, type="server_vad")
    conversation.hear(silence(500, RATE) + await spoken(RATE) + silence(1000, RATE))
    assert [kind for kind in conversation.told() if kind in TURN] == TURN
    [begun] = conversation.all("input_audio_buffer.speech_started")
    assert begun["audio_start_ms"] >= 3500, "time went on meanwhile"
    await conversation.end()


# What the session says.


@pytest.mark.parametrize(
    ("detection", "silence_ms"),
    [
        ({"type": "semantic_vad"}, 800),
        ({"type": "semantic_vad", "eagerness": "auto"}, 800),
        ({"type": "semantic_vad", "eagerness": "low"}, 1400),
        ({"type": "semantic_vad", "eagerness": "medium"}, 800),
        ({"type": "semantic_vad", "eagerness": "high"}, 400),
        ({"type": "server_vad", "silence_duration_ms": 230}, 230),
        ({"threshold": 0.7}, 500),
    ],
)
async def test_each_detection_has_its_patience(detection: Any, silence_ms: int) -> None:
    conversation = with_turns(**detection)
    defaults = TurnSettings()
    assert turn_rules(conversation.call._session.turn_detection, defaults) == TurnRules(
        threshold=detection.get("threshold", 0.5), prefix_padding_ms=300, silence_ms=silence_ms
    )
    conversation.hear(silence(500, RATE) + await spoken(RATE) + silence(2000, RATE))
    frames = [n for n, e in enumerate(conversation.told()) if e == TURN[1]]
    assert len(frames) == 1
    await conversation.end()


async def test_patience_may_change_in_mid_turn() -> None:
    conversation = with_turns(type="semantic_vad", eagerness="low")
    conversation.hear(silence(500, RATE) + await spoken(RATE) + silence(600, RATE))
    assert TURN[1] not in conversation.told()
    detect(conversation, eagerness="high")
    conversation.hear(silence(100, RATE))
    assert TURN[1] in conversation.told()
    await conversation.end()


async def test_a_turn_that_needs_no_answer_waits_for_a_request() -> None:
    listener = Listener()
    conversation = with_turns(listener, create_response=False)
    conversation.hear(silence(500, RATE) + await spoken(RATE) + silence(1000, RATE))
    await settled()
    assert conversation.told()[1:] == TURN
    assert [type(e) for e in listener.heard if not isinstance(e, AudioFrame)] == [SpeechStarted]
    conversation.ask("response.create")
    await settled()
    [turn] = listener.all(SpeechEnded)
    assert turn.item_id == conversation.all(TURN[0])[0]["item_id"]
    await conversation.end()


async def test_a_turn_that_is_answered_brings_those_along_that_were_not() -> None:
    listener = Listener()
    conversation = with_turns(listener, create_response=False)
    sentence = silence(500, RATE) + await spoken(RATE) + silence(1000, RATE)
    conversation.hear(sentence)
    detect(conversation, create_response=True)
    conversation.hear(sentence)
    await settled()
    [turn] = listener.all(SpeechEnded)
    assert len(turn.audio) > 1.5 * len(await spoken(RATE))
    conversation.ask("response.create")
    await settled()
    assert len(listener.all(SpeechEnded)) == 1, "once"
    await conversation.end()


@pytest.mark.parametrize("detection", ["server_vad", "semantic_vad"])
@pytest.mark.parametrize("interrupt", [True, False])
async def test_the_client_says_whether_it_may_be_interrupted(
    detection: str, interrupt: bool
) -> None:
    conversation = with_turns(type=detection, interrupt_response=interrupt)
    conversation.call.say(SECOND * 10)
    conversation.hear(silence(500, RATE) + await spoken(RATE))
    assert (("flush", 1) in conversation.engine.notes) == interrupt
    await conversation.end()


async def test_an_operator_who_wants_no_interruption_has_it_with_any_detection() -> None:
    settings = Settings(turns=TurnSettings(interrupt_response=False))
    conversation = Conversation(idle, settings)
    conversation.connect()
    detect(conversation, type="semantic_vad")
    conversation.call.say(SECOND * 10)
    conversation.hear(silence(500, RATE) + await spoken(RATE))
    assert ("flush", 1) not in conversation.engine.notes
    await conversation.end()


async def test_a_backend_that_detects_turns_is_left_to_it() -> None:
    listener = Listener()
    conversation = Conversation(listener, realtime=True, detects_turns=True)
    conversation.connect()
    conversation.hear(silence(500, RATE) + await spoken(RATE) + silence(1000, RATE))
    conversation.ask("input_audio_buffer.commit")
    conversation.ask("input_audio_buffer.clear")
    await conversation.end()
    assert conversation.told() == ["session.created"]
    kinds = [event.event["type"] for event in listener.all(Message)]
    assert kinds == ["input_audio_buffer.commit", "input_audio_buffer.clear"]
    assert {type(event) for event in listener.heard} == {AudioFrame, Message}


# Callers who say nothing.


class Clock:
    """Instead of the loop's timers: the test says when time has passed."""

    def __init__(self, conversation: Conversation) -> None:
        self._patience = conversation.call._turns._patience

    @property
    def waiting_ms(self) -> int | None:
        """How long the caller may be silent from now on; None: for ever."""
        timer = self._patience._timer
        if timer is None:
            return None
        return round((timer.when() - asyncio.get_running_loop().time()) * 1000)

    def ring(self) -> None:
        """Let the time be over."""
        timer = self._patience._timer
        assert timer is not None
        timer.cancel()
        self._patience._ring(5000)


def near(value: int | None, expected: int) -> bool:
    """Whether a timer was just set to so much; a test may have taken a while."""
    return value is not None and expected - 2000 < value <= expected


async def test_the_callers_silence_counts_from_the_end_of_playback() -> None:
    listener = Listener()
    conversation = with_turns(listener, idle_timeout_ms=30_000)
    clock = Clock(conversation)
    assert clock.waiting_ms is None, "nobody has said anything yet"
    conversation.call.say(SECOND)
    conversation.report(Event.PlayoutStarted(1, 0))
    assert "response.done" in conversation.told()
    assert clock.waiting_ms is None, "it is made, but not heard"
    conversation.hear(SECOND)
    conversation.report(Event.PlayoutEnded(1, 0, 1000, False))
    assert near(clock.waiting_ms, 30_000)
    before = len(conversation.events)
    clock.ring()
    assert conversation.told()[before:] == [
        "input_audio_buffer.timeout_triggered",
        *COMMITTED,
    ]
    triggered = conversation.events[before]
    assert (triggered["audio_start_ms"], triggered["audio_end_ms"]) == (0, 1000)
    assert triggered["item_id"] == conversation.events[before + 1]["item_id"]
    await settled()
    assert listener.all(CallerIdle) == [CallerIdle(at_ms=1000)]
    assert clock.waiting_ms is None, "once"
    await conversation.end()


async def test_the_timer_itself_tells_the_agent() -> None:
    told = asyncio.Event()

    async def agent(call: Call) -> None:
        async for event in call:
            if isinstance(event, CallerIdle):
                told.set()

    conversation = with_turns(agent, idle_timeout_ms=500)
    conversation.call.say(FRAME)
    conversation.report(Event.PlayoutEnded(1, 0, 20, False))
    await told.wait()
    await conversation.end()


@pytest.mark.parametrize(
    "what", ["speech", "a message", "a request", "more to hear", "no limit", "push-to-talk", "end"]
)
async def test_nobody_waits_for_a_caller_any_more_after(what: str) -> None:
    conversation = with_turns(idle_timeout_ms=30_000)
    clock = Clock(conversation)
    conversation.call.say(FRAME)
    conversation.report(Event.PlayoutEnded(1, 0, 20, False))
    assert clock.waiting_ms is not None
    match what:
        case "speech":
            conversation.hear(silence(500, RATE) + await spoken(RATE))
        case "a message":
            item = {"type": "message", "role": "user", "content": []}
            conversation.ask("conversation.item.create", item=item)
        case "a request":
            conversation.ask("response.create")
        case "more to hear":
            conversation.call.say(SECOND)
        case "no limit":
            detect(conversation, idle_timeout_ms=None)
        case "push-to-talk":
            detect(conversation)
        case "end":
            conversation.close()
    assert clock.waiting_ms is None
    await conversation.end()


async def test_a_tool_that_takes_long_is_not_the_callers_silence() -> None:
    tools = [{"type": "function", "name": "weather"}]
    conversation = with_turns(idle_timeout_ms=30_000)
    conversation.ask("session.update", session={"tools": tools})
    asking = asyncio.create_task(conversation.call.invoke("weather", {}))
    await settled()
    assert "response.done" in conversation.told()
    assert Clock(conversation).waiting_ms is None
    asking.cancel()
    await conversation.end()


async def test_a_new_limit_holds_at_once() -> None:
    conversation = with_turns(idle_timeout_ms=30_000)
    conversation.call.say(FRAME)
    conversation.report(Event.PlayoutEnded(1, 0, 20, False))
    detect(conversation, idle_timeout_ms=90_000)
    assert near(Clock(conversation).waiting_ms, 90_000)
    await conversation.end()
