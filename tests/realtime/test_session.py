"""The session, as clients configure it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop.config import TurnSettings
from firsthop.errors import EventError
from firsthop.realtime.session import MAX_SESSION_BYTES, SemanticVad, ServerVad, Session
from realtime.test_events import JSON

SERVER_VAD = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
SEMANTIC_VAD = {
    "type": "semantic_vad",
    "eagerness": "auto",
    "create_response": True,
    "interrupt_response": True,
}


def fresh(**changes: Any) -> Session:
    """A session with the default settings."""
    return Session("sess_1", "firsthop-local", TurnSettings(), changes)


def detection(session: Session) -> Any:
    """What its turn detection is told to be."""
    return session.value["audio"]["input"]["turn_detection"]


def detect(session: Session, **fields: object) -> None:
    """Change the turn detection; nothing: switch it off."""
    session.update({"audio": {"input": {"turn_detection": fields or None}}})


def test_a_session_is_whole_from_the_start() -> None:
    session = fresh()
    value = session.value
    assert (value["object"], value["type"], value["id"]) == (
        "realtime.session",
        "realtime",
        "sess_1",
    )
    assert value["model"] == "firsthop-local"
    assert detection(session) == SERVER_VAD
    assert value["audio"]["output"]["format"] == {"type": "audio/pcm", "rate": 24000}
    assert isinstance(session.turn_detection, ServerVad)


def test_settings_are_the_defaults_of_turns() -> None:
    turns = TurnSettings(threshold=0.7, silence_duration_ms=250, interrupt_response=False)
    session = Session("sess_1", "m", turns)
    expected = SERVER_VAD | {
        "threshold": 0.7,
        "silence_duration_ms": 250,
        "interrupt_response": False,
    }
    assert detection(session) == expected
    detect(session, type="semantic_vad")
    assert detection(session) == SEMANTIC_VAD | {"interrupt_response": False}
    detect(session, type="server_vad")
    assert detection(session) == expected


def test_an_update_is_merged_deeply() -> None:
    session = fresh()
    changes = {"input": {"noise_reduction": {"type": "near_field"}}, "output": {"voice": "marin"}}
    session.update({"instructions": "Be brief.", "audio": changes})
    session.update({"audio": {"output": {"speed": 1}}})
    assert session.value["instructions"] == "Be brief."
    assert session.value["audio"]["output"] == {
        "format": {"type": "audio/pcm", "rate": 24000},
        "voice": "marin",
        "speed": 1,
    }
    assert detection(session) == SERVER_VAD


def test_what_the_agents_sdk_sends_is_taken() -> None:
    session = fresh()
    session.update(
        {
            "type": "realtime",
            "model": "gpt-realtime-2.1",
            "instructions": "Be brief.",
            "output_modalities": ["audio"],
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": 24000},
                    "noise_reduction": None,
                    "transcription": {"model": "gpt-4o-mini-transcribe"},
                    "turn_detection": {"type": "semantic_vad"},
                },
                "output": {"format": {"type": "audio/pcm", "rate": 24000}, "speed": 1},
            },
            "tool_choice": "auto",
            "tools": [{"type": "function", "name": "now", "parameters": {}}],
        }
    )
    session.update({"type": "realtime", "tracing": "auto"})
    assert session.value["tracing"] == "auto"
    assert session.value["model"] == "gpt-realtime-2.1"
    assert detection(session) == SEMANTIC_VAD


def test_another_detection_drops_what_belonged_to_the_old_one() -> None:
    session = fresh()
    detect(session, threshold=0.7, idle_timeout_ms=6000)
    detect(session, type="semantic_vad", eagerness="low")
    assert detection(session) == SEMANTIC_VAD | {"eagerness": "low"}
    assert isinstance(session.turn_detection, SemanticVad)
    detect(session, create_response=False)
    assert detection(session) == SEMANTIC_VAD | {"eagerness": "low", "create_response": False}
    detect(session, type="server_vad")
    assert detection(session) == SERVER_VAD, "nothing comes back"
    detect(session)
    assert detection(session) is None
    assert session.turn_detection is None
    detect(session, type="server_vad", threshold=0.6)
    assert detection(session) == SERVER_VAD | {"threshold": 0.6}


def test_null_is_what_was_not_given_but_for_a_time_limit() -> None:
    session = fresh()
    detect(session, type="server_vad", threshold=0.7, idle_timeout_ms=6000)
    detect(session, type="server_vad", threshold=None, create_response=None)
    assert detection(session) == SERVER_VAD | {"threshold": 0.7, "idle_timeout_ms": 6000}
    detect(session, idle_timeout_ms=None)
    assert detection(session)["idle_timeout_ms"] is None


@pytest.mark.parametrize("name", ["tool_choice", "tracing", "prompt"])
def test_some_objects_are_replaced_whole(name: str) -> None:
    session = fresh()
    for value in ({"type": "function", "name": "now"}, {"type": "mcp"}):
        session.update({name: value})
        assert session.value[name] == value


def test_another_format_drops_the_rate_of_the_old_one() -> None:
    session = fresh()
    session.update({"audio": {"output": {"format": {"type": "audio/pcmu"}}}})
    assert session.value["audio"]["output"]["format"] == {"type": "audio/pcmu"}
    assert (session.input_format, session.output_format) == ("audio/pcm", "audio/pcmu")
    session.update({"audio": {"output": {"format": {"type": "audio/pcm"}}}})
    assert session.value["audio"]["output"]["format"] == {"type": "audio/pcm", "rate": 24000}


def test_what_is_the_servers_to_say_is_left_to_it() -> None:
    session = fresh(id="sess_mine", object="session", expires_at=1)
    assert session.value["id"] == "sess_1"
    assert session.value["object"] == "realtime.session"
    assert "expires_at" not in session.value


INPUT = "session.audio.input"


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"type": "transcription"}, "session.type"),
        ({"instructions": 7}, "session.instructions"),
        ({"instructions": None}, "session.instructions"),
        ({"tools": {}}, "session.tools"),
        ({"tools": [7]}, "session.tools.0"),
        ({"tools": [{}] * 513}, "session.tools"),
        ({"tool_choice": 7}, "session.tool_choice"),
        ({"max_output_tokens": "all"}, "session.max_output_tokens"),
        ({"output_modalities": ["video"]}, "session.output_modalities.0"),
        ({"model": "m" * 300}, "session.model"),
        ({"audio": None}, "session.audio"),
        ({"audio": 7}, "session.audio"),
        ({"audio": {"input": None}}, INPUT),
        ({"audio": {"input": {"turn_detection": 7}}}, f"{INPUT}.turn_detection"),
        ({"audio": {"input": {"turn_detection": {"type": "x"}}}}, f"{INPUT}.turn_detection"),
        (
            {"audio": {"input": {"turn_detection": {"threshold": 2}}}},
            f"{INPUT}.turn_detection.threshold",
        ),
        (
            {"audio": {"input": {"turn_detection": {"threshold": "0.5"}}}},
            f"{INPUT}.turn_detection.threshold",
        ),
        (
            {"audio": {"input": {"turn_detection": {"silence_duration_ms": 10}}}},
            f"{INPUT}.turn_detection.silence_duration_ms",
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "x"}}}},
            f"{INPUT}.turn_detection.eagerness",
        ),
        ({"audio": {"input": {"format": "pcm16"}}}, f"{INPUT}.format"),
        ({"audio": {"input": {"format": {"type": "audio/mp3"}}}}, f"{INPUT}.format"),
        ({"audio": {"input": {"format": {"rate": 8000}}}}, f"{INPUT}.format.rate"),
        ({"audio": {"output": {"speed": 3}}}, "session.audio.output.speed"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    changes: dict[str, Any], param: str
) -> None:
    session = fresh()
    before, shape = session.value, session.turn_detection
    with pytest.raises(EventError) as error:
        session.update({"instructions": "Be brief.", **changes})
    assert (error.value.code, error.value.param) == ("invalid_value", param)
    assert "_" not in error.value.message.replace("_vad", ""), "no names of ours"
    assert session.value == before
    assert session.turn_detection == shape


def test_a_call_is_not_placed_with_what_makes_no_sense() -> None:
    with pytest.raises(EventError):
        fresh(tools=7)


def test_clients_do_not_share_a_session() -> None:
    one, other = fresh(), fresh()
    one.update({"audio": {"output": {"voice": "marin"}}, "tracing": {"a": 1}})
    assert other.value["audio"]["output"]["voice"] == "default"
    assert fresh().value["tracing"] is None


def test_a_session_that_is_too_large_is_refused_and_the_old_one_kept() -> None:
    session = fresh()
    with pytest.raises(EventError) as error:
        session.update({"instructions": "x" * 70_000})
    assert error.value.code == "session_too_large"
    assert session.value["instructions"] == ""
    for number in range(100):
        try:
            session.update({f"field {number}": "\N{SNOWMAN}" * 500})
        except EventError:
            break
    assert 60_000 < len(json.dumps(session.value, separators=(",", ":"))) <= MAX_SESSION_BYTES


@pytest.mark.parametrize("depth", [100, 900, 980, 5000])
def test_a_session_as_deep_as_a_parser_takes_does_no_harm(depth: int) -> None:
    session, deep = fresh(), {}  # type: Session, dict[str, Any]
    for _ in range(depth):
        deep = {"a": deep}
    for _ in range(2):
        try:
            session.update({"a": deep, "audio": {"x": deep, "input": {"turn_detection": deep}}})
        except EventError as error:
            assert error.code in ("session_too_large", "invalid_value")
    session.update({"tracing": "auto"})
    assert session.value["tracing"] == "auto"


@pytest.mark.parametrize("value", [float("nan"), b"x", {1}])
def test_what_is_no_json_is_refused(value: object) -> None:
    session = fresh()
    with pytest.raises(EventError):
        session.update({"mine": value})
    assert "mine" not in session.value


LIKE_AUDIO = st.fixed_dictionaries(
    {},
    optional={
        side: JSON | st.fixed_dictionaries({}, optional={"turn_detection": JSON, "format": JSON})
        for side in ("input", "output")
    },
)
LIKE_SESSIONS = st.fixed_dictionaries(
    {},
    optional={"audio": JSON | LIKE_AUDIO, "tools": JSON, "id": JSON, "type": JSON, "tracing": JSON},
)


@given(st.lists(LIKE_SESSIONS, max_size=5))
def test_whatever_a_session_becomes_it_can_be_told_and_updated(
    changes: list[dict[str, Any]],
) -> None:
    session = fresh()
    for change in changes:
        try:
            session.update(change)
        except EventError as error:
            assert error.param is not None
    session.update({"tracing": "auto"})
    assert json.loads(json.dumps(session.value, allow_nan=False))["tracing"] == "auto"
