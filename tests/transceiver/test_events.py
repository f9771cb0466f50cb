"""The client's event channel, without a call behind it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop.call import Played
from firsthop.config import Settings
from firsthop.transceiver.events import RealtimeChannel

PLACE = {"response_id", "item_id", "output_index", "content_index"}
#: What the Realtime API requires of the events that we send, besides `type` and `event_id`.
REQUIRED = {
    "session.created": {"session"},
    "session.updated": {"session"},
    "error": {"error"},
    "input_audio_buffer.speech_started": {"audio_start_ms", "item_id"},
    "input_audio_buffer.speech_stopped": {"audio_end_ms", "item_id"},
    "input_audio_buffer.committed": {"item_id"},
    "conversation.item.added": {"item"},
    "conversation.item.done": {"item"},
    "conversation.item.truncated": {"item_id", "content_index", "audio_end_ms"},
    "response.created": {"response"},
    "response.output_item.added": {"response_id", "output_index", "item"},
    "response.output_item.done": {"response_id", "output_index", "item"},
    "response.content_part.added": {*PLACE, "part"},
    "response.output_audio.done": PLACE,
    "response.output_audio_transcript.delta": {*PLACE, "delta"},
    "response.output_audio_transcript.done": {*PLACE, "transcript"},
    "response.done": {"response"},
    "output_audio_buffer.started": {"response_id"},
    "output_audio_buffer.stopped": {"response_id"},
    "output_audio_buffer.cleared": {"response_id"},
}

Event = dict[str, Any]


def no_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


class Client:
    """A client's end of a channel; holds every event to the API's contract."""

    def __init__(self, *, opened: bool = True) -> None:
        self.events: list[Event] = []
        self.channel = RealtimeChannel("rtc_5f2b", Settings(), self._take)
        if opened:
            self.channel.opened()
            self.events.clear()

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    def ask(self, **event: object) -> list[Event]:
        """Send an event of the client; return what comes back."""
        before = len(self.events)
        self.channel.receive(json.dumps(event))
        return self.events[before:]

    def _take(self, text: str) -> None:
        event = json.loads(text, parse_constant=no_constant)
        missing = {"event_id", *REQUIRED[event["type"]]} - event.keys()
        assert not missing, f"{event['type']} lacks {missing}"
        self.events.append(event)


def test_the_session_is_announced_first_when_the_channel_opens() -> None:
    client = Client(opened=False)
    client.channel.said(0, "Hello.")
    client.channel.speech_started(40)
    assert client.events == [], "nothing is sent on a closed channel"
    client.channel.opened()
    assert client.types[0] == "session.created"
    assert client.types[1] == "response.created"
    assert client.types[-1] == "input_audio_buffer.speech_started"
    session = client.events[0]["session"]
    assert (session["object"], session["type"]) == ("realtime.session", "realtime")
    assert session["tracing"] is None, "the SDK reads it"
    assert session["audio"]["input"]["turn_detection"]["type"] == "server_vad"


def test_what_waits_for_a_channel_is_bounded() -> None:
    client = Client(opened=False)
    for at_ms in range(1000):
        client.channel.speech_started(at_ms)
    client.channel.opened()
    assert len(client.events) == 101


def test_event_ids_differ() -> None:
    client = Client()
    client.channel.said(0, "Hello.")
    client.channel.speech_started(0)
    ids = [event["event_id"] for event in client.events]
    assert len(set(ids)) == len(ids)


def test_a_turn_is_told_in_order_and_becomes_an_item() -> None:
    client = Client()
    client.channel.speech_started(100)
    client.channel.speech_stopped(900)
    assert client.types == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]
    started, stopped, committed, added, done = client.events
    assert (started["audio_start_ms"], stopped["audio_end_ms"]) == (100, 900)
    item = done["item"]
    assert {started["item_id"], stopped["item_id"], committed["item_id"]} == {item["id"]}
    assert added["item"]["id"] == item["id"]
    assert (item["type"], item["role"], item["status"]) == ("message", "user", "completed")
    assert item["content"][0]["type"] == "input_audio"


def test_each_turn_is_an_item_of_its_own() -> None:
    client = Client()
    for _ in range(2):
        client.channel.speech_started(0)
        client.channel.speech_stopped(1)
    items = {event["item_id"] for event in client.events if "item_id" in event}
    assert len(items) == 2


def test_a_response_that_is_played_to_its_end_is_told_in_order() -> None:
    client = Client()
    client.channel.said(0, "Hello.")
    client.channel.playout_started(0)
    client.channel.playout_ended(0, Played(ms=500, interrupted=False))
    assert client.types == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "output_audio_buffer.started",
        "response.output_audio_transcript.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
        "output_audio_buffer.stopped",
    ]
    response = client.events[-2]["response"]
    assert (response["object"], response["status"]) == ("realtime.response", "completed")
    [item] = response["output"]
    assert (item["role"], item["status"]) == ("assistant", "completed")
    assert item["content"] == [{"type": "output_audio", "transcript": "Hello."}]


def test_a_response_that_is_stopped_is_truncated_and_cancelled() -> None:
    client = Client()
    client.channel.said(0, "Hello.")
    client.channel.playout_started(0)
    before = len(client.events)
    client.channel.playout_ended(0, Played(ms=120, interrupted=True))
    assert client.types[before:] == [
        "output_audio_buffer.cleared",
        "conversation.item.truncated",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]
    truncated, done = client.events[before + 1], client.events[-1]
    assert truncated["audio_end_ms"] == 120
    assert done["response"]["status"] == "cancelled"
    assert done["response"]["output"][0]["status"] == "incomplete"
    assert truncated["item_id"] == done["response"]["output"][0]["id"]


def test_responses_and_their_items_keep_their_ids() -> None:
    client = Client()
    for utterance in (0, 1):
        client.channel.said(utterance, "Hello.")
    for utterance in (0, 1):
        client.channel.playout_started(utterance)
        client.channel.playout_ended(utterance, Played(ms=1, interrupted=False))
    placed = [event for event in client.events if {"response_id", "item_id"} <= event.keys()]
    assert len({event["item_id"] for event in placed}) == 2
    assert len({(event["response_id"], event["item_id"]) for event in placed}) == 2
    responses = {event["response"]["id"] for event in client.events if "response" in event}
    assert responses == {event["response_id"] for event in placed}


def test_a_response_without_text_has_no_transcript_to_tell_piece_by_piece() -> None:
    client = Client()
    client.channel.said(0, "")
    client.channel.playout_started(0)
    assert client.types[-1] == "output_audio_buffer.started"


def test_an_utterance_that_nobody_knows_is_passed_over() -> None:
    client = Client()
    client.channel.playout_started(7)
    client.channel.playout_ended(7, Played(ms=0, interrupted=True))
    assert client.events == []


def test_an_account_is_told_once() -> None:
    client = Client()
    client.channel.said(0, "Hello.")
    client.channel.playout_ended(0, Played(ms=0, interrupted=True))
    told = len(client.events)
    client.channel.playout_ended(0, Played(ms=0, interrupted=True))
    assert len(client.events) == told


def test_a_session_update_is_merged_deeply_and_answered() -> None:
    client = Client()
    turn_detection = {"type": "semantic_vad", "eagerness": "high"}
    client.ask(
        type="session.update",
        session={
            "type": "realtime",
            "instructions": "Be brief.",
            "audio": {
                "input": {"turn_detection": turn_detection, "noise_reduction": None},
                "output": {"voice": "marin", "speed": 1},
            },
            "tools": [{"type": "function", "name": "now"}],
        },
    )
    [second] = client.ask(type="session.update", session={"tracing": "auto"})
    session = second["session"]
    assert client.types == ["session.updated", "session.updated"]
    assert session["tracing"] == "auto"
    assert session["instructions"] == "Be brief."
    assert session["id"] == "sess_5f2b"
    assert session["audio"]["input"]["turn_detection"]["eagerness"] == "high"
    assert session["audio"]["input"]["turn_detection"]["threshold"] == 0.5, "what was, stays"
    assert session["audio"]["output"] == {"voice": "marin", "speed": 1}
    assert session["tools"] == [{"type": "function", "name": "now"}]


def test_null_replaces_what_was() -> None:
    client = Client()
    [updated] = client.ask(
        type="session.update", session={"audio": {"input": {"turn_detection": None}}}
    )
    assert updated["session"]["audio"]["input"]["turn_detection"] is None


def test_clients_do_not_share_a_session() -> None:
    one, other = Client(), Client()
    one.ask(type="session.update", session={"audio": {"output": {"voice": "marin"}}})
    [updated] = other.ask(type="session.update", session={})
    assert updated["session"]["audio"]["output"] == {}


@pytest.mark.parametrize("session", [None, 3, "all", ["voice"]])
def test_an_update_without_a_session_is_refused_with_the_events_id(session: object) -> None:
    [refusal] = Client().ask(type="session.update", event_id="evt_1", session=session)
    error = refusal["error"]
    assert refusal["type"] == "error"
    assert error["event_id"] == "evt_1"
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_event")
    assert error["param"] == "session"
    assert error["message"]


def test_a_session_that_is_too_large_is_refused_and_the_old_one_kept() -> None:
    client = Client()
    [refusal] = client.ask(type="session.update", session={"instructions": "x" * 70_000})
    assert refusal["error"]["code"] == "session_too_large"
    [updated] = client.ask(type="session.update", session={"tracing": "auto"})
    assert updated["session"]["instructions"] == ""


def test_a_session_as_deep_as_a_parser_takes_does_no_harm() -> None:
    client = Client()
    for depth in (100, 900, 950, 980, 100):
        session = '{"a":' * depth + "1" + "}" * depth
        client.channel.receive(f'{{"type":"session.update","session":{session}}}')
    assert client.types[0] == "session.updated"
    [updated] = client.ask(type="session.update", session={"tracing": "auto"})
    assert updated["session"]["tracing"] == "auto"


def test_a_session_does_not_grow_without_bound() -> None:
    client = Client()
    for number in range(30):
        client.ask(type="session.update", session={f"field {number}": "x" * 4000})
    assert client.types[-1] == "error"
    longest = max(len(json.dumps(event)) for event in client.events)
    assert longest < 70_000


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "invalid_json"),
        ("hello", "invalid_json"),
        ('{"type": "session.update"', "invalid_json"),
        ("[" * 100_000, "invalid_json"),
        ("1" * 5000, "invalid_json"),
        ('{"type": "x", "n": NaN}', "invalid_json"),
        ('{"type": "x", "n": 1e999}', "invalid_json"),
        ("[]", "invalid_event"),
        ("null", "invalid_event"),
        ('"session.update"', "invalid_event"),
        ("{}", "invalid_event"),
        ('{"type": 3}', "invalid_event"),
    ],
)
def test_what_is_no_event_is_refused(text: str, code: str) -> None:
    client = Client()
    assert client.channel.receive(text) is None
    [refusal] = client.events
    assert refusal["error"]["code"] == code


@pytest.mark.parametrize("event_id", [3, None, ["e"], {"a": {"b": 1}}, "x" * 100_000])
def test_what_cannot_be_an_id_is_not_sent_back(event_id: object) -> None:
    [refusal] = Client().ask(type="session.update", event_id=event_id)
    assert refusal["error"]["event_id"] is None


def test_an_event_for_the_agent_is_handed_over_unanswered() -> None:
    client = Client()
    event = {"type": "conversation.item.create", "item": {"type": "message"}}
    assert client.channel.receive(json.dumps(event)) == event
    assert client.events == []


def test_an_agents_event_gets_an_id_unless_it_has_one() -> None:
    sent: list[Event] = []
    channel = RealtimeChannel("rtc_1", Settings(), lambda text: sent.append(json.loads(text)))
    channel.opened()
    channel.send({"type": "weather.changed", "sky": "blue"})
    channel.send({"type": "weather.changed", "event_id": "mine"})
    assert sent[1]["event_id"].startswith("event_")
    assert sent[1]["sky"] == "blue"
    assert sent[2]["event_id"] == "mine"


@pytest.mark.parametrize(
    ("event", "error"),
    [({"n": float("nan")}, ValueError), ({"n": float("inf")}, ValueError), ({"n": b""}, TypeError)],
)
def test_an_agents_event_that_is_no_json_is_the_agents_error(
    event: Event, error: type[Exception]
) -> None:
    client = Client()
    with pytest.raises(error):
        client.channel.send({"type": "error", **event})
    assert client.events == []


def test_a_failure_of_ours_is_told_as_such() -> None:
    client = Client()
    client.channel.failed("the agent failed")
    [event] = client.events
    assert event["error"]["type"] == "server_error"
    assert event["error"]["message"] == "the agent failed"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=15,
)
TYPES = st.sampled_from(["session.update", "response.cancel", "error", "", "session.created"])
EVENTS = st.fixed_dictionaries(
    {}, optional={"type": TYPES | JSON, "session": JSON, "event_id": st.text() | JSON}
)
LIKE_SESSIONS = st.fixed_dictionaries(
    {}, optional={"audio": JSON, "tools": JSON, "id": JSON, "type": JSON, "tracing": JSON}
)


@given(st.lists(st.text() | JSON.map(json.dumps) | EVENTS.map(json.dumps), max_size=5))
def test_whatever_a_client_sends_is_answered_or_handed_over(texts: list[str]) -> None:
    client = Client()
    for text in texts:
        before = len(client.events)
        event = client.channel.receive(text)
        assert (event is None) == (len(client.events) == before + 1)
        assert event is None or isinstance(event["type"], str)


@given(st.lists(LIKE_SESSIONS, max_size=5))
def test_whatever_a_session_becomes_it_can_be_told_and_updated(sessions: list[Event]) -> None:
    client = Client()
    for session in sessions:
        client.ask(type="session.update", session=session)
    [updated] = client.ask(type="session.update", session={"tracing": "auto"})
    assert updated["session"]["tracing"] == "auto"


@given(st.text(st.characters()))
def test_whatever_an_agent_says_can_be_told(transcript: str) -> None:
    client = Client()
    client.channel.said(0, transcript)
    client.channel.playout_started(0)
    client.channel.playout_ended(0, Played(ms=1, interrupted=False))
    [item] = client.events[-2]["response"]["output"]
    assert item["content"][0]["transcript"] == transcript


def test_every_event_of_the_contract_is_one_that_we_send() -> None:
    seen: set[str] = set()
    tell: list[Callable[[RealtimeChannel], object]] = [
        lambda channel: channel.opened(),
        lambda channel: channel.receive('{"type": "session.update", "session": {}}'),
        lambda channel: channel.receive(""),
        lambda channel: channel.speech_started(0),
        lambda channel: channel.speech_stopped(1),
        lambda channel: channel.said(0, "Hello."),
        lambda channel: channel.playout_started(0),
        lambda channel: channel.playout_ended(0, Played(ms=1, interrupted=False)),
        lambda channel: channel.said(1, "Hello."),
        lambda channel: channel.playout_ended(1, Played(ms=0, interrupted=True)),
    ]
    channel = RealtimeChannel("rtc_1", Settings(), lambda text: seen.add(json.loads(text)["type"]))
    for step in tell:
        step(channel)
    assert seen == REQUIRED.keys()
