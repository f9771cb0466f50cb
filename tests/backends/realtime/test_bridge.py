"""The bridge between a call and a server, without either."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop.backends import failure
from firsthop.backends.realtime.actions import (
    Action,
    Append,
    EndOfSound,
    Fail,
    Garbled,
    Interrupt,
    Sound,
    ToClient,
    ToServer,
)
from firsthop.backends.realtime.bridge import Bridge
from firsthop.backends.realtime.dialects import DIALECTS
from firsthop.call import AudioFrame, Place, Played, SpeechEnded, SpeechStarted
from firsthop.config import Capability

Event = dict[str, Any]

PLACE = Place("r", "i", 0, 0)
WHERE = {"response_id": "r", "item_id": "i", "output_index": 0, "content_index": 0}
#: 100 ms of silence.
PCM = bytes(4800)


class Bench:
    """A bridge, and what it wanted done."""

    def __init__(
        self,
        dialect: str = "openai",
        *,
        lacks: tuple[Capability, ...] = (),
        detects_turns: bool = True,
        paced: bool = True,
        detection: Mapping[str, Any] | None = None,
    ) -> None:
        kind = DIALECTS[dialect]
        self.detection: Mapping[str, Any] | None = {"type": "server_vad", **(detection or {})}
        self.session: Event = {"type": "realtime", "instructions": "Be brief."}
        self.bridge = Bridge(
            kind(kind.speaks - {*lacks}),
            detects_turns=detects_turns,
            paced=paced,
            session=self._session,
        )
        self.now = 0.0
        self.actions: list[Action] = []

    def _session(self) -> Event:
        return {**self.session, "audio": {"input": {"turn_detection": self.detection}}}

    def open(self, *items: Event) -> Bench:
        """Open a connection, and forget what was told first."""
        self.did(self.bridge.opened(items, 0))
        self.actions.clear()
        return self

    def did(self, actions: list[Action]) -> list[Action]:
        self.actions += actions
        return actions

    def server(self, kind: str, **fields: Any) -> list[Action]:
        return self.did(self.bridge.received({"type": kind, **fields}, self.now))

    def client(self, kind: str, **fields: Any) -> list[Action]:
        return self.did(self.bridge.message({"type": kind, **fields}, self.now))

    def hear(self, at_ms: int = 0) -> list[Action]:
        return self.did(self.bridge.heard(AudioFrame(pcm=bytes(960), at_ms=at_ms)))

    def respond(self) -> Bench:
        """Let the server begin to speak."""
        self.server("response.created", response={"id": "r", "status": "in_progress"})
        item = {"id": "i", "type": "message", "role": "assistant", "content": []}
        self.server("response.output_item.added", response_id="r", output_index=0, item=item)
        self.server("conversation.item.added", item=item, previous_item_id=None)
        part = {"type": "audio", "transcript": ""}
        self.server("response.content_part.added", **WHERE, part=part)
        self.sound()
        return self

    def sound(self, pcm: bytes = PCM) -> list[Action]:
        delta = base64.b64encode(pcm).decode()
        return self.server("response.output_audio.delta", **WHERE, delta=delta)

    def played(self, ms: int, *, interrupted: bool) -> list[Action]:
        return self.did(self.bridge.played(PLACE, Played(ms, interrupted), self.now))

    def done(self, status: str = "completed") -> list[Action]:
        return self.server("response.done", response={"id": "r", "status": status})

    def told(self) -> list[str]:
        """The types of the events that the client was told."""
        return [action.event["type"] for action in self.actions if isinstance(action, ToClient)]


def clients(actions: list[Action]) -> list[Event]:
    return [dict(action.event) for action in actions if isinstance(action, ToClient)]


def servers(actions: list[Action]) -> list[Event]:
    return [dict(action.event) for action in actions if isinstance(action, ToServer)]


def fails(actions: list[Action]) -> list[Fail]:
    return [action for action in actions if isinstance(action, Fail)]


# Responses.


def test_a_response_passes_and_its_sound_is_played() -> None:
    bench = Bench().open().respond()
    bench.server("response.output_audio.done", **WHERE)
    bench.server("response.output_audio_transcript.done", **WHERE, transcript="hello")
    bench.server("response.content_part.done", **WHERE, part={"type": "audio"})
    item = {"id": "i", "type": "message", "role": "assistant", "content": []}
    bench.server("response.output_item.done", response_id="r", output_index=0, item=item)
    bench.server("conversation.item.done", item=item)
    bench.done()
    assert bench.told() == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]
    sounds = [a for a in bench.actions if isinstance(a, Sound | EndOfSound)]
    assert sounds[:2] == [Sound(PLACE, PCM), EndOfSound(PLACE)]


def test_what_a_server_leaves_out_of_a_response_is_told_in_order() -> None:
    bench = Bench("basic").open()
    bench.sound()
    bench.server("response.output_audio_transcript.delta", **WHERE, delta="hel")
    bench.server("response.output_audio_transcript.delta", **WHERE, delta="lo")
    bench.done()
    assert bench.told() == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio_transcript.delta",
        "response.output_audio_transcript.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]
    told = {event["type"]: event for event in clients(bench.actions)}
    assert told["response.output_audio_transcript.done"]["transcript"] == "hello"
    item = told["response.output_item.done"]["item"]
    assert item["content"] == [{"type": "output_audio", "transcript": "hello"}]
    assert item["status"] == "completed"


def test_a_function_call_that_was_not_announced_is() -> None:
    bench = Bench().open()
    call = {"response_id": "r", "item_id": "f", "output_index": 0, "call_id": "c"}
    bench.server("response.function_call_arguments.delta", **call, delta='{"a"')
    bench.server("response.function_call_arguments.done", **call, arguments='{"a":1}', name="n")
    bench.done()
    told = {event["type"]: event for event in clients(bench.actions)}
    assert told["response.output_item.added"]["item"]["type"] == "function_call"
    assert told["response.output_item.done"]["item"]["arguments"] == '{"a":1}'


def test_a_response_whose_end_a_server_does_not_tell_ends() -> None:
    bench = Bench().open().respond()
    assert bench.bridge.due() is None
    bench.server("response.output_audio.done", **WHERE)
    due = bench.bridge.due()
    assert due is not None
    assert bench.bridge.overdue(due - 0.1) == []
    bench.did(bench.bridge.overdue(due))
    ended = clients(bench.actions)[-1]
    assert ended["type"] == "response.done"
    assert ended["response"]["status"] == "completed"


def test_a_response_that_goes_on_does_not_end() -> None:
    bench = Bench().open().respond()
    bench.server("response.output_audio.done", **WHERE)
    item = {"id": "j", "type": "function_call"}
    bench.server("response.output_item.added", response_id="r", output_index=1, item=item)
    assert bench.bridge.due() is None


def test_a_response_is_created_and_done_once() -> None:
    bench = Bench().open().respond()
    bench.server("response.created", response={"id": "r"})
    bench.done()
    bench.done()
    bench.sound()
    assert bench.told().count("response.created") == bench.told().count("response.done") == 1
    assert len([action for action in bench.actions if isinstance(action, Sound)]) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"delta": "no base64!"},
        {"delta": None},
        {"delta": 5},
        {"delta": "A" * 9},
        {"item_id": None},
        {"item_id": ["i"]},
        {"content_index": "0"},
        {"content_index": True},
        {"response_id": 7},
    ],
    ids=str,
)
def test_sound_that_makes_no_sense_is_counted_and_told_once(fields: Event) -> None:
    bench = Bench().open().respond()
    event = {**WHERE, "delta": "AAAA", **fields}
    actions = bench.server("response.output_audio.delta", **event)
    assert [type(action) for action in actions] == [Garbled, Fail]
    assert fails(actions)[0].code == "backend_garbage"
    assert bench.server("response.output_audio.delta", **event) == [Garbled()]
    assert isinstance(bench.sound()[-1], Sound)


def test_sound_that_nobody_can_play_in_time_is_left_out() -> None:
    bench = Bench().open().respond()
    minute = bytes(60 * 48_000)
    for _ in range(9):
        assert isinstance(bench.sound(minute)[-1], Sound)
    assert Garbled() in bench.sound(minute)
    bench.played(1000, interrupted=True)
    assert len([a for a in bench.actions if isinstance(a, Sound)]) == 10


# Interruptions.


def test_speech_that_the_server_hears_stops_what_is_said() -> None:
    bench = Bench().open().respond()
    actions = bench.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=5)
    assert [type(action) for action in actions] == [ToClient, Interrupt]
    assert not [action for action in bench.sound() if isinstance(action, Sound)]
    # It cancels the response itself; it is told only what was heard.
    asked = servers(bench.played(60, interrupted=True))
    assert [event["type"] for event in asked] == ["conversation.item.truncate"]
    assert asked[0]["audio_end_ms"] == 60


def test_a_server_may_be_told_not_to_be_interrupted() -> None:
    bench = Bench(detection={"interrupt_response": False}).open().respond()
    actions = bench.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=5)
    assert [type(action) for action in actions] == [ToClient]
    assert isinstance(bench.sound()[-1], Sound)


def test_speech_that_firsthop_hears_cancels_the_response() -> None:
    bench = Bench(detects_turns=False).open().respond()
    actions = bench.did(bench.bridge.speech_started(SpeechStarted(at_ms=0), 0.0))
    assert [event["type"] for event in servers(actions)] == ["response.cancel"]
    asked = servers(bench.played(60, interrupted=True))
    assert [event["type"] for event in asked] == ["conversation.item.truncate"]


def test_what_a_client_clears_is_cancelled_and_truncated() -> None:
    bench = Bench().open().respond()
    asked = servers(bench.played(60, interrupted=True))
    kinds = [event["type"] for event in asked]
    assert kinds == ["response.cancel", "conversation.item.truncate"]


def test_a_truncation_never_claims_more_than_was_received() -> None:
    bench = Bench().open().respond()
    asked = servers(bench.played(500, interrupted=True))
    assert asked[-1]["audio_end_ms"] == 100


def test_what_was_played_to_its_end_is_not_truncated() -> None:
    bench = Bench().open().respond()
    bench.done()
    assert bench.played(100, interrupted=False) == []


def test_a_client_that_plays_the_sound_itself_truncates_it_itself() -> None:
    bench = Bench(paced=False).open().respond()
    bench.done()
    assert bench.played(60, interrupted=True) == []


TRUNCATED = {
    "type": "conversation.item.truncated",
    "item_id": "i",
    "content_index": 0,
    "audio_end_ms": 60,
}


def test_the_servers_truncated_passes() -> None:
    bench = Bench().open().respond()
    bench.played(60, interrupted=True)
    assert clients(bench.did(bench.bridge.received(TRUNCATED, 0.0))) == [TRUNCATED]
    assert TRUNCATED not in clients(bench.bridge.overdue(100.0))


@pytest.mark.parametrize("how", ["lacks it", "refuses it", "says nothing", "is gone"])
def test_a_client_is_told_of_a_truncation_even_if_the_server(how: str) -> None:
    bench = Bench(lacks=("truncate",) if how == "lacks it" else ()).open().respond()
    bench.done()
    asked = servers(bench.played(60, interrupted=True))
    match how:
        case "refuses it":
            bench.server("error", error={"message": "no", "event_id": asked[0]["event_id"]})
        case "says nothing":
            due = bench.bridge.due()
            assert due is not None
            assert bench.bridge.overdue(due - 0.1) == []
            bench.did(bench.bridge.overdue(due))
        case "is gone":
            bench.did(bench.bridge.lost(failure.LOST, for_good=False))
    assert clients(bench.actions)[-1] == TRUNCATED
    assert "error" not in bench.told()


# Cancelling.


def test_a_client_cancels_and_the_server_ends_the_response() -> None:
    bench = Bench().open().respond()
    asked = servers(bench.client("response.cancel", event_id="e"))
    assert asked == [{"type": "response.cancel", "event_id": "e"}]
    # The playout was flushed: no second cancel.
    asked = servers(bench.played(60, interrupted=True))
    assert [event["type"] for event in asked] == ["conversation.item.truncate"]
    bench.done("cancelled")
    assert clients(bench.actions)[-1]["response"]["status"] == "cancelled"
    assert bench.bridge.due() is not None


@pytest.mark.parametrize("lacks", [(), ("cancel",)])
def test_a_cancelled_response_ends_even_if_the_server_does_not_end_it(
    lacks: tuple[Literal["cancel"], ...],
) -> None:
    bench = Bench(lacks=lacks).open().respond()
    bench.client("response.cancel")
    due = bench.bridge.due()
    if due is not None:
        bench.did(bench.bridge.overdue(due))
    ended = clients(bench.actions)[-1]
    assert ended["type"] == "response.done"
    assert ended["response"]["status"] == "cancelled"
    assert ended["response"]["status_details"]["reason"] == "client_cancelled"
    assert ended["response"]["output"][0]["status"] == "incomplete"
    # What still comes of it is nobody's business any more.
    assert bench.done() == []
    assert bench.bridge.due() is None


def test_a_cancel_of_ours_that_comes_too_late_is_nobodys_error() -> None:
    bench = Bench(detects_turns=False).open().respond()
    [cancel] = servers(bench.did(bench.bridge.speech_started(SpeechStarted(at_ms=0), 0.0)))
    assert bench.server("error", error={"message": "?", "event_id": cancel["event_id"]}) == []


# Turns.


def turn(bench: Bench, item_id: str = "x") -> list[Event]:
    """Let firsthop hear a turn; return what the server is asked."""
    bench.did(bench.bridge.speech_started(SpeechStarted(at_ms=0), bench.now))
    ended = SpeechEnded(at_ms=500, audio=b"", item_id=item_id)
    return servers(bench.did(bench.bridge.speech_ended(ended)))


def test_a_turn_that_firsthop_hears_is_committed_and_answered() -> None:
    kinds = [event["type"] for event in turn(Bench(detects_turns=False).open())]
    assert kinds == ["input_audio_buffer.commit", "response.create"]


def test_a_turn_is_answered_only_if_the_session_says_so() -> None:
    bench = Bench(detects_turns=False, detection={"create_response": False}).open()
    assert [event["type"] for event in turn(bench)] == ["input_audio_buffer.commit"]


def test_an_answer_waits_for_the_response_that_is_under_way() -> None:
    bench = Bench(detects_turns=False).open().respond()
    assert [event["type"] for event in turn(bench)] == ["input_audio_buffer.commit"]
    asked = servers(bench.done("cancelled"))
    assert [event["type"] for event in asked] == ["response.create"]


def test_a_caller_who_is_idle_is_spoken_to() -> None:
    bench = Bench(detects_turns=False).open()
    [asked] = servers(bench.did(bench.bridge.idle()))
    assert asked["type"] == "response.create"


def test_a_turn_has_the_name_that_the_client_was_told() -> None:
    bench = Bench(detects_turns=False).open()
    turn(bench, "x")
    bench.server("input_audio_buffer.committed", item_id="y", previous_item_id=None)
    bench.server("conversation.item.added", item={"id": "y", "type": "message", "role": "user"})
    kind = "conversation.item.input_audio_transcription.completed"
    bench.server(kind, item_id="y", content_index=0, transcript="hello")
    committed, added, transcribed = clients(bench.actions)
    assert committed["item_id"] == added["item"]["id"] == transcribed["item_id"] == "x"
    [asked] = servers(bench.client("conversation.item.delete", item_id="x"))
    assert asked["item_id"] == "y"


def test_an_item_that_is_done_was_added() -> None:
    bench = Bench().open()
    bench.server("conversation.item.done", item=USER, event_id="e")
    bench.server("conversation.item.added", item=USER)
    added, done = clients(bench.actions)
    assert (added["type"], done["type"]) == ("conversation.item.added", "conversation.item.done")
    assert "event_id" not in added and done["event_id"] == "e"


def test_a_commit_of_the_clients_has_the_servers_name() -> None:
    bench = Bench(detects_turns=False).open()
    bench.detection = None
    bench.client("input_audio_buffer.commit")
    turn(bench, "x")
    bench.server("input_audio_buffer.committed", item_id="y")
    bench.server("input_audio_buffer.committed", item_id="z")
    assert [event["item_id"] for event in clients(bench.actions)] == ["y", "x"]


def test_only_turns_are_sent_to_a_server_that_hears_none() -> None:
    bench = Bench(detects_turns=False, detection={"prefix_padding_ms": 100}).open()
    for at_ms in range(0, 2000, 20):
        assert bench.hear(at_ms) == []
    [heard, *_] = bench.did(bench.bridge.speech_started(SpeechStarted(at_ms=1900), 0.0))
    # From 1800 ms on: the padding belongs to the turn.
    assert heard == Append(bytes(960 * 10))
    assert bench.hear(2000) == [Append(bytes(960))]
    bench.bridge.speech_ended(SpeechEnded(at_ms=2020, audio=b"", item_id="x"))
    assert bench.hear(2020) == []


def test_everything_is_sent_to_a_server_that_hears_turns() -> None:
    assert Bench().open().hear() == [Append(bytes(960))]


def test_everything_is_sent_when_the_client_ends_turns() -> None:
    bench = Bench(detects_turns=False).open()
    bench.detection = None
    assert bench.hear() == [Append(bytes(960))]


def test_a_server_that_hears_turns_unasked_is_not_listened_to() -> None:
    bench = Bench(detects_turns=False).open()
    assert bench.server("input_audio_buffer.speech_started", item_id="u") == []


def test_times_are_those_of_the_call_on_another_connection_too() -> None:
    bench = Bench().open()
    bench.hear(60_000)
    bench.bridge.lost(failure.CLOSED, for_good=False)
    bench.bridge.opened([], 20)
    [told, _] = bench.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=5)
    assert isinstance(told, ToClient)
    assert told.event["audio_start_ms"] == 60_005


# Sessions.


def test_a_new_connection_is_told_what_was_chosen_and_no_more() -> None:
    bench = Bench()
    bench.session |= {"tools": [], "tool_choice": "auto", "tracing": None, "id": "s"}
    [first] = servers(bench.bridge.opened([], 0))
    assert first["type"] == "session.update"
    assert set(first["session"]) == {"type", "instructions", "audio"}
    assert first["session"]["audio"]["input"]["turn_detection"] == {"type": "server_vad"}


def test_a_server_whose_turns_firsthop_hears_is_told_to_hear_none() -> None:
    [first] = servers(Bench(detects_turns=False).bridge.opened([], 0))
    assert first["session"]["audio"]["input"]["turn_detection"] is None


def test_a_change_is_told_with_all_of_the_object_that_it_changes() -> None:
    bench = Bench(detection={"threshold": 0.7, "silence_duration_ms": 300}).open()
    changes = {"audio": {"input": {"turn_detection": {"threshold": 0.7}}}}
    [told] = servers(bench.client("session.update", session=changes, event_id="e"))
    assert told["event_id"] == "e"
    assert told["session"]["audio"]["input"]["turn_detection"] == bench.detection


def test_a_change_of_turn_detection_does_not_concern_a_server_without_it() -> None:
    bench = Bench(detects_turns=False).open()
    changes = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
    assert bench.client("session.update", session=changes) == []


def test_the_servers_sessions_are_not_the_clients() -> None:
    bench = Bench().open()
    assert bench.server("session.created", session={"id": "s"}) == []
    assert bench.server("session.updated", session={"id": "s"}) == []


# Errors, capabilities, connections.


def test_an_error_passes_with_the_clients_id() -> None:
    bench = Bench().open()
    error = {"type": "invalid_request_error", "code": "c", "message": "m", "param": "p"}
    [told] = clients(bench.server("error", error={**error, "event_id": "e"}))
    assert told["error"] == {**error, "event_id": "e"}


@pytest.mark.parametrize("error", ["a string", None, 7, [], {}, {"message": 5, "code": []}])
def test_an_error_of_any_shape_becomes_one_of_the_contract(error: object) -> None:
    [told] = clients(Bench().open().server("error", error=error))
    assert set(told["error"]) == {"type", "code", "message", "param", "event_id"}
    assert isinstance(told["error"]["message"], str) and told["error"]["message"]


def test_an_error_about_the_first_session_names_no_event_of_the_clients() -> None:
    bench = Bench()
    [first] = servers(bench.bridge.opened([], 0))
    error = {"message": "no such voice", "event_id": first["event_id"]}
    [told] = clients(bench.server("error", error=error))
    assert told["error"]["message"] == "no such voice"
    assert told["error"]["event_id"] is None


@pytest.mark.parametrize(
    "kind", ["input_audio_buffer.commit", "input_audio_buffer.clear", "conversation.item.delete"]
)
def test_what_a_server_does_not_understand_is_refused_here(kind: str) -> None:
    [refused] = fails(Bench("basic").open().client(kind, event_id="e", item_id="i"))
    assert (refused.code, refused.event_id) == ("unsupported_by_backend", "e")
    assert kind in refused.message


def test_a_response_ends_when_the_server_is_gone() -> None:
    bench = Bench().open().respond()
    bench.server("response.output_audio_transcript.delta", **WHERE, delta="hel")
    actions = bench.did(bench.bridge.lost(failure.STALLED, for_good=False))
    assert fails(actions) == [Fail("backend_closed", failure.STALLED.message)]
    assert EndOfSound(PLACE) in actions
    assert bench.told()[-5:] == [
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]
    ended = clients(actions)[-1]["response"]
    assert ended["status"] == "failed"
    assert ended["status_details"]["error"]["code"] == "backend_closed"


def test_speech_that_was_heard_begin_is_heard_end_when_the_server_is_gone() -> None:
    bench = Bench().open()
    bench.server("input_audio_buffer.speech_started", item_id="u", audio_start_ms=5)
    bench.did(bench.bridge.lost(failure.LOST, for_good=False))
    assert bench.told() == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
    ]


@pytest.mark.parametrize("for_good", [False, True])
def test_what_is_asked_without_a_server_is_refused_by_its_name(for_good: bool) -> None:
    bench = Bench().open()
    bench.bridge.lost(failure.CLOSED, for_good=for_good)
    [refused] = fails(bench.client("response.create", event_id="e"))
    assert (refused.code, refused.event_id) == ("backend_unreachable", "e")
    item = {"type": "message", "role": "user", "content": []}
    kept = servers(bench.client("conversation.item.create", item=item))
    assert len(kept) == (0 if for_good else 1)


def test_what_is_asked_before_there_is_a_server_waits() -> None:
    assert servers(Bench().client("response.create")) == [{"type": "response.create"}]


USER = {
    "id": "u",
    "type": "message",
    "role": "user",
    "status": "completed",
    "content": [{"type": "input_audio", "transcript": "hello"}],
}


@pytest.mark.parametrize("theirs", ["u", "other"])
def test_what_was_said_is_told_again_and_not_back(theirs: str) -> None:
    bench = Bench().open()
    bench.server("conversation.item.added", item=USER)
    bench.server("conversation.item.done", item=USER)
    bench.bridge.lost(failure.CLOSED, for_good=False)
    _, again = servers(bench.bridge.opened([USER], 0))
    assert again["item"]["content"] == [{"type": "input_text", "text": "hello"}]
    bench.actions.clear()
    bench.server("conversation.item.added", item={**USER, "id": theirs})
    bench.server("conversation.item.done", item={**USER, "id": theirs})
    assert bench.actions == []
    [asked] = servers(bench.client("conversation.item.delete", item_id="u"))
    assert asked["item_id"] == theirs


@pytest.mark.parametrize("theirs", ["u", "other"])
def test_what_was_said_in_the_call_before_is_told_to_the_server_and_not_back(theirs: str) -> None:
    bench = Bench()
    _, told = servers(bench.bridge.opened([USER], 0))
    assert told["item"]["id"] == "u"
    assert bench.server("conversation.item.added", item={**USER, "id": theirs}) == []
    assert bench.server("conversation.item.done", item={**USER, "id": theirs}) == []
    [asked] = servers(bench.client("conversation.item.delete", item_id="u"))
    assert asked["item_id"] == theirs


def test_what_a_server_says_first_comes_after_what_was_said_in_the_call_before() -> None:
    bench = Bench().open(USER)
    bench.server("response.created", response={"id": "r", "output": []})
    bench.server("response.output_audio_transcript.delta", **WHERE, delta="Yes.")
    added = [e for e in clients(bench.actions) if e["type"] == "conversation.item.added"]
    assert [event["previous_item_id"] for event in added] == ["u"]


# Garbage.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
KINDS = (
    "conversation.item.added",
    "conversation.item.created",
    "conversation.item.deleted",
    "conversation.item.done",
    "conversation.item.truncated",
    "error",
    "input_audio_buffer.committed",
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "rate_limits.updated",
    "response.audio.delta",
    "response.content_part.added",
    "response.content_part.done",
    "response.created",
    "response.done",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.mcp_call.in_progress",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.delta",
    "response.output_audio_transcript.done",
    "response.output_item.added",
    "response.output_item.done",
    "response.output_text.delta",
    "response.output_text.done",
    "session.created",
)
IDS = st.sampled_from(["r", "i", "u"])
OBJECTS = st.fixed_dictionaries({"id": IDS}) | JSON
EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS)},
    optional={
        "response_id": IDS | JSON,
        "item_id": IDS | JSON,
        "output_index": st.integers(0, 2) | JSON,
        "content_index": st.integers(0, 2) | JSON,
        "response": OBJECTS,
        "item": OBJECTS,
        "part": JSON,
        "delta": st.sampled_from(["AAAA", "hello"]) | JSON,
        "error": JSON,
        "audio_start_ms": st.integers() | JSON,
    },
)


@given(
    dialect=st.sampled_from(sorted(DIALECTS)),
    detects_turns=st.booleans(),
    events=st.lists(EVENTS | JSON, max_size=12),
)
def test_no_event_of_a_server_can_raise_and_every_response_ends(
    dialect: str, detects_turns: bool, events: list[object]
) -> None:
    bench = Bench(dialect, detects_turns=detects_turns).open()
    for event in events:
        bench.did(bench.bridge.received(event, 0.0))
    bench.did(bench.bridge.lost(failure.CLOSED, for_good=True))
    told = clients(bench.actions)
    created = [e["response"]["id"] for e in told if e["type"] == "response.created"]
    ended = [e["response"]["id"] for e in told if e["type"] == "response.done"]
    assert sorted(created) == sorted(ended)
    assert len({*created}) == len(created)
