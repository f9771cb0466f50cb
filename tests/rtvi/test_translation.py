"""RTVI and the Realtime contract, both ways: messages and events in, events and messages out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop.realtime.events import CLIENT_EVENTS, MAX_ID, parse
from firsthop.rtvi import output
from firsthop.rtvi import translation as module
from firsthop.rtvi.messages import VERSION, RequestError, read
from firsthop.rtvi.translation import Translation

NOW = "2026-11-21T12:00:00.000+00:00"
#: A type of each event of the contract that means something to RTVI, and others.
EVENTS = [
    "error",
    "conversation.item.added",
    "conversation.item.input_audio_transcription.completed",
    "conversation.item.input_audio_transcription.delta",
    "conversation.item.truncated",
    "input_audio_buffer.speech_started",
    "output_audio_buffer.cleared",
    "output_audio_buffer.started",
    "output_audio_buffer.stopped",
    "response.content_part.added",
    "response.created",
    "response.done",
    "response.output_audio_transcript.delta",
    "response.output_audio_transcript.done",
    "response.output_item.added",
    "response.output_item.done",
    "response.output_text.delta",
    "response.output_text.done",
    "session.updated",
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=9), below),
    max_leaves=8,
)


def translator(*, custom: bool = True) -> Translation:
    return Translation(custom=custom, now=lambda: NOW)


def asked(kind: str, data: object = None, number: str = "7a") -> dict[str, Any]:
    """Return a message as a client sends it."""
    message = read(json.dumps({"label": "rtvi-ai", "type": kind, "id": number, "data": data}))
    assert message is not None
    return message


def events(
    translation: Translation, kind: str, data: object = None, number: str = "7a"
) -> list[dict[str, Any]]:
    """Return the events that a message stands for, each of which is one of the contract's."""
    made, answers = translation.ask(asked(kind, data, number))
    assert answers == []
    for event in made:
        assert event["type"] in CLIENT_EVENTS
        assert parse(json.dumps(event)) == event
    return made


def refused(translation: Translation, kind: str, data: object = None) -> str:
    """Return the words in which a message is refused."""
    made, [answer] = translation.ask(asked(kind, data))
    assert made == []
    assert (answer["type"], answer["id"]) == ("error-response", "7a")
    problem: str = answer["data"]["error"]
    return problem


def told(translation: Translation, kind: str, **fields: Any) -> list[tuple[str, Any]]:
    """Return what an event is told as: types and data."""
    messages = translation.tell({"type": kind, "event_id": "event_1", **fields})
    assert all(message["label"] == "rtvi-ai" for message in messages)
    return [(message["type"], message.get("data")) for message in messages]


def begin(translation: Translation) -> list[tuple[str, Any]]:
    """Let a response begin."""
    return told(translation, "response.created", response={"id": "resp_1"})


def finish(translation: Translation) -> list[tuple[str, Any]]:
    """Let it be made."""
    return told(translation, "response.done", response={"id": "resp_1", "status": "completed"})


def types(told: list[tuple[str, Any]]) -> list[str]:
    return [kind for kind, _ in told]


# What clients ask.


@pytest.mark.parametrize("text", ["ping: 1732190000000", "ping", '{"type":"signalling"}'])
def test_keepalives_and_notes_about_tracks_ask_for_nothing(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("", None),
        ("nonsense", None),
        ("[]", None),
        ("[" * 100_000, None),
        ('{"type": "client-ready"}', None),
        ('{"label": "rtvi-ai", "id": "1"}', "1"),
        ('{"label": "rtvi-ai", "type": 3, "id": "1"}', "1"),
        ('{"label": "rtvi-ai", "type": "send-text", "data": "words", "id": "1"}', "1"),
        ('{"label": "rtvi-ai", "type": "send-text", "data": NaN, "id": "1"}', None),
        ('{"label": "rtvi-ai", "id": ' + json.dumps("x" * (MAX_ID + 1)) + "}", None),
    ],
)
def test_what_is_no_message_is_refused(text: str, number: str | None) -> None:
    with pytest.raises(RequestError) as error:
        read(text)
    answer = error.value.answer()
    if number is None:
        assert answer["type"] == "error"
        assert answer["data"]["fatal"] is False
    else:
        assert (answer["type"], answer["id"]) == ("error-response", number)


@pytest.mark.parametrize(
    ("version", "answered", "complained"),
    [
        ("2.1.0", VERSION, False),
        ("2.2.0", VERSION, False),
        ("1.4.0", "1.4.0", False),
        ("3.0.0", VERSION, True),
        (None, VERSION, True),
        (5, VERSION, True),
    ],
)
def test_a_client_that_is_ready_is_told_so_whatever_its_version(
    version: object, answered: str, complained: bool
) -> None:
    made, answers = translator().ask(asked("client-ready", {"version": version}))
    assert made == []
    *complaints, ready = answers
    assert (ready["type"], ready["id"]) == ("bot-ready", "7a")
    assert ready["data"] == {"version": answered, "about": {"library": "firsthop"}}
    assert [one["type"] for one in complaints] == ["error-response"] * complained


def test_text_becomes_an_item_and_asks_for_an_answer() -> None:
    item = {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "Hello."}],
    }
    create = {"type": "conversation.item.create", "item": item, "event_id": "7a"}
    answer: dict[str, Any] = {"type": "response.create", "event_id": "7a"}
    assert events(translator(), "send-text", {"content": "Hello."}) == [create, answer]
    later = {"content": "Hello.", "options": {"run_immediately": False}}
    assert events(translator(), "send-text", later) == [create]
    silent = {"content": "Hello.", "options": {"audio_response": False}}
    [_, answer] = events(translator(), "send-text", silent)
    assert answer["response"] == {"output_modalities": ["text"]}


def test_text_interrupts_what_is_made_and_what_is_heard() -> None:
    translation = translator()
    begin(translation)
    kinds = [event["type"] for event in events(translation, "send-text", {"content": "Stop."})]
    assert kinds[:2] == ["response.cancel", "output_audio_buffer.clear"]
    told(translation, "output_audio_buffer.started", response_id="resp_1")
    finish(translation)
    kinds = [event["type"] for event in events(translation, "send-text", {"content": "Stop."})]
    assert kinds[0] == "output_audio_buffer.clear"
    assert "response.cancel" not in kinds
    later = {"content": "Stop.", "options": {"run_immediately": False}}
    assert len(events(translation, "send-text", later)) == 1
    result = {"tool_call_id": "call_1", "result": "noon"}
    assert len(events(translation, "llm-function-call-result", result)) == 2
    told(translation, "output_audio_buffer.stopped", response_id="resp_1")
    assert len(events(translation, "send-text", {"content": "Stop."})) == 2


@pytest.mark.parametrize(("role", "part"), [("user", "input_text"), ("assistant", "output_text")])
def test_context_is_appended_and_answered_if_that_is_asked_for(role: str, part: str) -> None:
    data = {"role": role, "content": "It is noon."}
    [create] = events(translator(), "append-to-context", data)
    assert create["item"]["content"] == [{"type": part, "text": "It is noon."}]
    made = events(translator(), "append-to-context", {**data, "run_immediately": True})
    assert made[-1]["type"] == "response.create"


@pytest.mark.parametrize(
    ("result", "output"),
    [("Sunny.", "Sunny."), ({"sky": "blue"}, '{"sky":"blue"}'), ([1], '{"result":[1]}')],
)
def test_the_result_of_a_tool_becomes_its_output(result: object, output: str) -> None:
    data = {"function_name": "f", "tool_call_id": "call_1", "arguments": {}, "result": result}
    create, answer = events(translator(), "llm-function-call-result", data)
    assert create["item"] == {
        "type": "function_call_output",
        "call_id": "call_1",
        "output": output,
    }
    assert answer["type"] == "response.create"


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        ("send-text", {}, "content"),
        ("send-text", {"content": 3}, "content"),
        ("send-text", {"content": "x", "options": 3}, "options"),
        ("append-to-context", {"role": "tool", "content": "x"}, "role"),
        ("append-to-context", {"role": [], "content": "x"}, "role"),
        ("append-to-context", {"role": "user", "content": [{"type": "image"}]}, "content"),
        ("llm-function-call-result", {"result": 1}, "tool_call_id"),
        ("raw-audio", {"base64Audio": "AAAA"}, "audio track"),
        ("send-file", {"content": "x"}, "files"),
        ("sing", {}, "sing"),
    ],
)
def test_what_cannot_be_done_is_refused_by_the_id_of_its_message(
    kind: str, data: object, words: str
) -> None:
    assert words in refused(translator(), kind, data)


@pytest.mark.parametrize("kind", ["client-message", "dtmf", "ui-event", "ui-snapshot"])
def test_what_is_the_applications_goes_to_an_agent_as_it_is(kind: str) -> None:
    message = asked(kind, {"t": "order", "d": 42})
    assert translator().ask(message) == ([{**message, "event_id": "7a"}], [])
    assert "Realtime server" in refused(translator(custom=False), kind, {"t": "order"})


@given(st.dictionaries(st.sampled_from(["label", "type", "id", "data"]), json_values))
def test_no_message_can_raise(message: dict[str, Any]) -> None:
    try:
        request = read(json.dumps({"label": "rtvi-ai", **message}))
    except RequestError:
        return
    if request is not None:
        translator().ask(request)


@given(st.sampled_from(["send-text", "append-to-context", "llm-function-call-result"]), json_values)
def test_no_data_of_a_message_can_raise(kind: str, value: object) -> None:
    names = ("content", "role", "options", "tool_call_id", "result")
    translator().ask({"label": "rtvi-ai", "type": kind, "data": dict.fromkeys(names, value)})


# What is told.


def test_a_turn_and_its_transcript_are_told() -> None:
    translation = translator()
    assert told(translation, "input_audio_buffer.speech_started", item_id="item_1") == [
        ("user-started-speaking", None)
    ]
    assert told(translation, "input_audio_buffer.speech_stopped", item_id="item_1") == [
        ("user-stopped-speaking", None)
    ]
    kind = "conversation.item.input_audio_transcription"
    deltas = [told(translation, f"{kind}.delta", item_id="item_1", delta=d) for d in ("It ", "is")]
    texts = [data["text"] for [(_, data)] in deltas]
    assert texts == ["It ", "It is"], "RTVI tells all that was understood so far"
    final = {"text": "It is.", "final": True, "timestamp": NOW, "user_id": ""}
    assert told(translation, f"{kind}.completed", item_id="item_1", transcript="It is.") == [
        ("user-transcription", final),
        ("user-llm-text", {"text": "It is."}),
    ]
    [(_, data)] = told(translation, f"{kind}.delta", item_id="item_1", delta="New")
    assert data["text"] == "New"
    assert told(translation, f"{kind}.completed", item_id="item_2", transcript="") == []


def test_an_answer_is_told_word_by_word_and_sentence_by_sentence() -> None:
    translation = translator()
    assert types(begin(translation)) == ["bot-llm-started"]
    audio = {"part": {"type": "audio", "transcript": ""}}
    assert types(told(translation, "response.content_part.added", **audio)) == ["bot-tts-started"]
    delta = "response.output_audio_transcript.delta"
    messages = []
    for piece in ("Good mor", "ning! How are", " you?"):
        messages += told(translation, delta, response_id="resp_1", delta=piece)
    done = "response.output_audio_transcript.done"
    whole = "Good morning! How are you?"
    messages += told(translation, done, response_id="resp_1", transcript=whole)
    for kind in ("bot-llm-text", "bot-tts-text"):
        assert "".join(data["text"] for one, data in messages if one == kind) == whole
    sentences = ["Good morning!", "How are you?"]
    assert [data["text"] for kind, data in messages if kind == "bot-transcription"] == sentences
    segments = [data for kind, data in messages if kind == "bot-output"]
    assert [(one["segment_id"], one["text"]) for one in segments] == [*enumerate(sentences, 1)]
    assert all(one["spoken_status"] == "new" and one["will_be_spoken"] for one in segments)
    assert segments[0]["spoken_progress"] == {
        "accumulated_text": "",
        "remaining_text": "Good morning!",
    }
    assert types(told(translation, "response.output_audio.done")) == ["bot-tts-stopped"]
    assert types(finish(translation)) == ["bot-llm-stopped"]

    start = told(translation, "output_audio_buffer.started", response_id="resp_1")
    assert types(start) == ["bot-started-speaking"]
    stop = told(translation, "output_audio_buffer.stopped", response_id="resp_1")
    assert types(stop) == ["bot-output", "bot-output", "bot-stopped-speaking"]
    assert [data["spoken_status"] for _, data in stop[:2]] == ["completed"] * 2


def test_words_that_come_all_at_once_are_told_too() -> None:
    translation = translator()
    begin(translation)
    done = "response.output_audio_transcript.done"
    messages = told(translation, done, response_id="resp_1", transcript="Hello. I am here")
    assert types(messages).count("bot-llm-text") == 1
    texts = [data["text"] for kind, data in messages if kind == "bot-transcription"]
    assert texts == ["Hello.", "I am here"]


def test_what_is_only_read_is_not_told_as_spoken() -> None:
    translation = translator()
    begin(translation)
    messages = told(translation, "response.output_text.delta", response_id="resp_1", delta="Hi. ")
    assert types(messages) == ["bot-llm-text", "bot-transcription", "bot-output"]
    assert messages[-1][1]["will_be_spoken"] is False
    assert "spoken_progress" not in messages[-1][1]
    assert told(translation, "response.output_text.done", response_id="resp_1", text="Hi. ") == []
    finish(translation)
    assert translation._output._answers == {}


def test_an_interruption_is_told_and_ends_what_was_to_be_heard() -> None:
    translation = translator()
    begin(translation)
    delta = "response.output_audio_transcript.delta"
    told(translation, delta, response_id="resp_1", delta="One. Two. ")
    told(translation, "output_audio_buffer.started", response_id="resp_1")
    cleared = told(translation, "output_audio_buffer.cleared", response_id="resp_1")
    assert types(cleared) == ["bot-interrupted", "bot-stopped-speaking"]
    finish(translation)
    assert translation._output._answers == {}


def test_a_tool_of_the_client_is_told_from_its_call_to_its_output() -> None:
    translation = translator()
    item = {"type": "function_call", "call_id": "call_1", "name": "get_weather"}
    assert told(translation, "response.output_item.added", item={**item, "arguments": ""}) == [
        ("llm-function-call-started", {"function_name": "get_weather"})
    ]
    called = {**item, "arguments": '{"city": "Lisbon"}', "status": "completed"}
    about = {"tool_call_id": "call_1", "function_name": "get_weather"}
    assert told(translation, "response.output_item.done", item=called) == [
        ("llm-function-call-in-progress", {**about, "arguments": {"city": "Lisbon"}})
    ]
    output = {"type": "function_call_output", "call_id": "call_1", "output": '{"sky": "blue"}'}
    stopped = {**about, "cancelled": False, "result": {"sky": "blue"}}
    assert told(translation, "conversation.item.added", item=output) == [
        ("llm-function-call-stopped", stopped)
    ]


def test_a_tool_call_that_is_not_complete_is_cancelled() -> None:
    item = {"type": "function_call", "call_id": "call_1", "name": "f", "status": "incomplete"}
    cancelled = {"tool_call_id": "call_1", "cancelled": True}
    assert told(translator(), "response.output_item.done", item=item) == [
        ("llm-function-call-stopped", cancelled)
    ]


@pytest.mark.parametrize(
    ("outcome", "result"),
    [
        ({"output": "noon"}, "noon"),
        ({"output": None, "error": {"message": "no clock"}}, "no clock"),
    ],
)
def test_a_tool_of_the_agent_is_told_as_well(outcome: dict[str, Any], result: str) -> None:
    translation = translator()
    item = {"type": "mcp_call", "id": "item_1", "name": "time", "arguments": "{}"}
    begun = told(translation, "response.output_item.added", item=item)
    assert types(begun) == ["llm-function-call-started", "llm-function-call-in-progress"]
    [(kind, data)] = told(translation, "response.output_item.done", item={**item, **outcome})
    assert kind == "llm-function-call-stopped"
    assert (data["function_name"], data["result"]) == ("time", result)


def test_what_the_user_wrote_is_told() -> None:
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi."}]}
    assert told(translator(), "conversation.item.added", item=item) == [
        ("user-llm-text", {"text": "Hi."})
    ]
    item["content"] = [{"type": "input_audio", "transcript": None}]
    assert told(translator(), "conversation.item.added", item=item) == []


def test_an_error_answers_the_message_that_it_is_about() -> None:
    translation = translator()
    events(translation, "send-text", {"content": "Hello."}, "8b")
    [answer] = translation.tell({"type": "error", "error": {"message": "no", "event_id": "8b"}})
    assert answer == {
        "label": "rtvi-ai",
        "type": "error-response",
        "id": "8b",
        "data": {"error": "no"},
    }
    [(kind, data)] = told(translation, "error", error={"message": "no", "event_id": "other"})
    assert (kind, data["error"], data["fatal"]) == ("error", "no", False)


def test_it_is_no_error_of_the_clients_when_there_was_nothing_to_interrupt() -> None:
    translation = translator()
    begin(translation)
    [cancel, *_] = events(translation, "send-text", {"content": "Stop."})
    error = {"message": "no such response", "event_id": cancel["event_id"]}
    assert told(translation, "error", error=error) == []


def test_a_response_that_fails_says_why() -> None:
    translation = translator()
    begin(translation)
    error = {"type": "server_error", "message": "The model is away."}
    details = {"type": "failed", "error": error}
    failed = {"id": "resp_1", "status": "failed", "status_details": details}
    messages = told(translation, "response.done", response=failed)
    assert types(messages) == ["error", "bot-llm-stopped"]
    assert messages[0][1]["error"] == "The model is away."


def test_events_of_an_agents_own_reach_the_application() -> None:
    translation = translator()
    assert told(translation, "weather.changed", sky="grey") == [
        ("server-message", {"type": "weather.changed", "sky": "grey"})
    ]
    own = {"label": "rtvi-ai", "type": "server-response", "id": "1", "data": {"t": "x", "d": 1}}
    assert translation.tell({**own, "event_id": "event_1"}) == [own]


@pytest.mark.parametrize(
    "kind", ["session.created", "conversation.item.truncated", "rate_limits.updated"]
)
def test_what_rtvi_has_no_word_for_is_not_told(kind: str) -> None:
    assert told(translator(), kind) == []


def test_nothing_that_is_remembered_grows_without_end() -> None:
    translation = translator()
    kind = "conversation.item.input_audio_transcription.delta"
    for number in range(1000):
        response_id, item_id = f"resp_{number}", f"item_{number}"
        told(translation, "response.created", response={"id": response_id})
        told(translation, kind, item_id=item_id, delta="x" * 1000)
        told(translation, kind, item_id="item", delta="x" * 1000)
        text = {"response_id": "resp_0", "delta": "A. "}
        told(translation, "response.output_audio_transcript.delta", **text)
        item = {"type": "function_call", "call_id": f"call_{number}", "name": "f"}
        told(translation, "response.output_item.done", item=item)
        events(translation, "send-text", {"content": "Hello."}, f"message {number}")
    assert len(translation._output._answers) == output._MAX_RESPONSES
    assert len(translation._turns) == module._MAX_TURNS
    assert len(translation._tools) == module._MAX_TOOLS
    assert len(translation._asked) == module._MAX_ASKED


def test_a_sentence_without_an_end_is_cut() -> None:
    translation = translator()
    begin(translation)
    delta = "response.output_audio_transcript.delta"
    messages = told(translation, delta, response_id="resp_1", delta="x" * 5000)
    texts = [data["text"] for kind, data in messages if kind == "bot-transcription"]
    assert [len(text) for text in texts] == [2000, 2000]


def test_sentences_that_wait_to_be_heard_are_bounded() -> None:
    translation = translator()
    begin(translation)
    delta = "response.output_audio_transcript.delta"
    told(translation, delta, response_id="resp_1", delta="A. " * 2000)
    stopped = told(translation, "output_audio_buffer.stopped", response_id="resp_1")
    assert len(stopped) == output._MAX_SEGMENTS + 1


@given(
    st.lists(
        st.tuples(
            st.sampled_from(EVENTS),
            st.dictionaries(
                st.sampled_from(
                    ["item", "item_id", "response", "response_id", "delta", "part", "error"]
                ),
                json_values,
            ),
        ),
        max_size=6,
    )
)
def test_no_event_can_raise(told_events: list[tuple[str, Mapping[str, Any]]]) -> None:
    translation = translator()
    for kind, fields in told_events:
        for message in translation.tell({"type": kind, **fields}):
            json.dumps(message)
