"""Every event in every dialect, there and back."""

from __future__ import annotations

from typing import Any, get_args
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop.backends.realtime.dialects import DIALECTS, Dialect, find
from firsthop.backends.realtime.dialects.base import PCM
from firsthop.config import RealtimeSettings

Event = dict[str, Any]

SOUND = {"response_id": "r", "item_id": "i", "output_index": 0, "content_index": 0}
USER_ITEM = {
    "id": "u",
    "type": "message",
    "role": "user",
    "status": "completed",
    "content": [{"type": "input_audio", "transcript": None}],
}


def spoken(kind: str) -> Event:
    """An assistant's item whose content has the type `kind`."""
    content = [{"type": kind, "transcript": "hello"}]
    return {
        "id": "i",
        "type": "message",
        "role": "assistant",
        "status": "in_progress",
        "content": content,
    }


#: Server events that are the same in every dialect.
SAME: list[Event] = [
    {"type": "conversation.created", "conversation": {"id": "c"}},
    {"type": "conversation.item.deleted", "item_id": "i"},
    {
        "type": "conversation.item.input_audio_transcription.completed",
        "item_id": "u",
        "content_index": 0,
        "transcript": "hello",
        "usage": {"type": "duration", "seconds": 1},
    },
    {"type": "conversation.item.input_audio_transcription.delta", "item_id": "u", "delta": "h"},
    {
        "type": "conversation.item.input_audio_transcription.failed",
        "item_id": "u",
        "content_index": 0,
        "error": {"message": "no"},
    },
    {"type": "conversation.item.input_audio_transcription.segment", "item_id": "u", "text": "h"},
    {"type": "conversation.item.truncated", "item_id": "i", "audio_end_ms": 5, "content_index": 0},
    {"type": "error", "error": {"type": "server_error", "message": "no"}},
    {"type": "input_audio_buffer.cleared"},
    {"type": "input_audio_buffer.committed", "item_id": "u", "previous_item_id": None},
    {"type": "input_audio_buffer.dtmf_event_received", "event": "1", "received_at": 5},
    {"type": "input_audio_buffer.speech_started", "item_id": "u", "audio_start_ms": 5},
    {"type": "input_audio_buffer.speech_stopped", "item_id": "u", "audio_end_ms": 5},
    {"type": "input_audio_buffer.timeout_triggered", "item_id": "u", "audio_start_ms": 5},
    {"type": "mcp_list_tools.completed", "item_id": "i"},
    {"type": "mcp_list_tools.failed", "item_id": "i"},
    {"type": "mcp_list_tools.in_progress", "item_id": "i"},
    {"type": "output_audio_buffer.cleared", "response_id": "r"},
    {"type": "output_audio_buffer.started", "response_id": "r"},
    {"type": "output_audio_buffer.stopped", "response_id": "r"},
    {"type": "rate_limits.updated", "rate_limits": []},
    {"type": "response.content_part.added", **SOUND, "part": {"type": "audio"}},
    {"type": "response.content_part.done", **SOUND, "part": {"type": "audio"}},
    {"type": "response.function_call_arguments.delta", "item_id": "i", "delta": "{"},
    {"type": "response.function_call_arguments.done", "item_id": "i", "arguments": "{}"},
    {"type": "response.mcp_call.completed", "item_id": "i", "output_index": 0},
    {"type": "response.mcp_call.failed", "item_id": "i", "output_index": 0},
    {"type": "response.mcp_call.in_progress", "item_id": "i", "output_index": 0},
    {"type": "response.mcp_call_arguments.delta", "item_id": "i", "delta": "{"},
    {"type": "response.mcp_call_arguments.done", "item_id": "i", "arguments": "{}"},
    {"type": "session.created", "session": {"id": "s"}},
    {"type": "session.updated", "session": {"id": "s"}},
    {"type": "vendor.of_their.own", "anything": [1, {"at": "all"}]},
]
#: Server events of the contract, and what they were called in beta.
RENAMED: list[tuple[Event, Event]] = (
    [
        (
            {"type": f"response.output_{name}", **SOUND, **fields},
            {"type": f"response.{name}", **SOUND, **fields},
        )
        for name, fields in (
            ("audio.delta", {"delta": "AAAA"}),
            ("audio.done", {}),
            ("audio_transcript.delta", {"delta": "hel"}),
            ("audio_transcript.done", {"transcript": "hello"}),
            ("text.delta", {"delta": "hel"}),
            ("text.done", {"text": "hello"}),
        )
    ]
    + [
        (
            {"type": kind, "response_id": "r", "output_index": 0, "item": spoken("output_audio")},
            {"type": kind, "response_id": "r", "output_index": 0, "item": spoken("audio")},
        )
        for kind in ("response.output_item.added", "response.output_item.done")
    ]
    + [
        (
            {
                "type": kind,
                "response": {
                    "id": "r",
                    "output_modalities": ["audio"],
                    "output": [spoken("output_audio")],
                },
            },
            {
                "type": kind,
                "response": {
                    "id": "r",
                    "modalities": ["text", "audio"],
                    "output": [spoken("audio")],
                },
            },
        )
        for kind in ("response.created", "response.done")
    ]
    + [
        (
            {"type": "conversation.item.retrieved", "item": spoken("output_audio")},
            {"type": "conversation.item.retrieved", "item": spoken("audio")},
        )
    ]
)
ITEMS: list[Event] = [
    {"type": "conversation.item.added", "item": USER_ITEM, "previous_item_id": None},
    {"type": "conversation.item.done", "item": USER_ITEM, "previous_item_id": None},
]
GA = ("openai", "azure", "basic")
BETA = ("beta", "azure-preview")


def dialect(name: str) -> Dialect:
    return DIALECTS[name]()


def test_the_settings_name_every_dialect() -> None:
    names = get_args(RealtimeSettings.model_fields["dialect"].annotation)
    assert set(names) == set(DIALECTS) == {*GA, *BETA}


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("event", SAME, ids=lambda event: event["type"])
def test_what_no_dialect_changes_passes(name: str, event: Event) -> None:
    assert dialect(name).incoming(event) == [event]


@pytest.mark.parametrize("name", GA)
@pytest.mark.parametrize("event", [*(ga for ga, _ in RENAMED), *ITEMS], ids=lambda e: e["type"])
def test_the_contract_passes_in_its_own_words(name: str, event: Event) -> None:
    assert dialect(name).incoming(event) == [event]


@pytest.mark.parametrize("name", BETA)
@pytest.mark.parametrize(("event", "beta"), RENAMED, ids=lambda event: event["type"])
def test_beta_is_put_into_the_words_of_the_contract(name: str, event: Event, beta: Event) -> None:
    assert dialect(name).incoming(beta) == [event]


@pytest.mark.parametrize("name", [*BETA, "basic"])
def test_an_item_created_is_added_and_done(name: str) -> None:
    created = {**ITEMS[0], "type": "conversation.item.created"}
    assert dialect(name).incoming(created) == ITEMS


@pytest.mark.parametrize("name", [*BETA, "basic"])
@pytest.mark.parametrize("status", ["in_progress", None])
def test_an_item_that_is_still_spoken_is_added_only(name: str, status: str | None) -> None:
    kind = "audio" if name in BETA else "output_audio"
    item = {**spoken(kind), "status": status}
    created = {"type": "conversation.item.created", "item": item}
    [added] = dialect(name).incoming(created)
    assert added["type"] == "conversation.item.added"
    assert added["item"]["content"][0]["type"] == "output_audio"


SESSION: Event = {
    "id": "sess_1",
    "object": "realtime.session",
    "type": "realtime",
    "model": "gpt-realtime",
    "client": {"events": []},
    "instructions": "Be brief.",
    "output_modalities": ["audio"],
    "tools": [{"type": "function", "name": "clock"}],
    "tool_choice": "auto",
    "max_output_tokens": 500,
    "tracing": "auto",
    "truncation": "auto",
    "audio": {
        "input": {
            "format": {"type": "audio/pcmu"},
            "transcription": {"model": "whisper"},
            "noise_reduction": {"type": "near_field"},
            "turn_detection": {"type": "semantic_vad", "eagerness": "low", "create_response": True},
        },
        "output": {"format": {"type": "audio/pcmu"}, "voice": "marin", "speed": 1.1},
    },
}


def updated(name: str, session: Event = SESSION) -> Event:
    """What a server of this dialect is told when the session is `session`."""
    [event] = dialect(name).outgoing({"type": "session.update", "session": session})
    assert event["type"] == "session.update"
    told: Event = event["session"]
    return told


@pytest.mark.parametrize("name", ["openai", "azure"])
def test_a_session_keeps_all_that_is_the_servers_matter(name: str) -> None:
    told = updated(name)
    assert set(SESSION) - set(told) == {"id", "object", "model", "client"}
    assert told["audio"]["input"] == {**SESSION["audio"]["input"], "format": PCM}
    assert told["audio"]["output"] == {**SESSION["audio"]["output"], "format": PCM}


def test_a_basic_server_is_told_only_what_it_knows() -> None:
    told = updated("basic")
    assert set(told) == {
        "type",
        "instructions",
        "output_modalities",
        "audio",
        "tools",
        "tool_choice",
    }
    assert told["audio"]["input"]["turn_detection"] == {
        "type": "server_vad",
        "create_response": True,
    }


def test_a_beta_session_is_flat() -> None:
    assert updated("beta") == {
        "instructions": "Be brief.",
        "modalities": ["text", "audio"],
        "tools": SESSION["tools"],
        "tool_choice": "auto",
        "max_response_output_tokens": 500,
        "voice": "marin",
        "input_audio_format": "pcm16",
        "output_audio_format": "pcm16",
        "input_audio_transcription": {"model": "whisper"},
        "turn_detection": {"type": "server_vad", "create_response": True},
    }


@pytest.mark.parametrize("name", DIALECTS)
def test_no_turn_detection_stays_none(name: str) -> None:
    told = updated(name, {"type": "realtime", "audio": {"input": {"turn_detection": None}}})
    flat = told if name in BETA else told["audio"]["input"]
    assert flat["turn_detection"] is None


@pytest.mark.parametrize("name", DIALECTS)
def test_the_voice_that_nobody_chose_is_the_servers(name: str) -> None:
    told = updated(name, {"type": "realtime", "audio": {"output": {"voice": "default"}}})
    assert "voice" not in told and "voice" not in told.get("audio", {}).get("output", {})


@pytest.mark.parametrize("name", [*BETA, "basic"])
def test_a_change_that_does_not_concern_a_server_is_not_told(name: str) -> None:
    change = {"type": "session.update", "session": {"type": "realtime", "tracing": "auto"}}
    assert dialect(name).outgoing(change) == []


def test_beta_has_older_names_for_what_an_assistant_says() -> None:
    event = {"type": "conversation.item.create", "item": spoken("output_audio"), "event_id": "e"}
    assert dialect("beta").outgoing(event) == [{**event, "item": spoken("audio")}]


def test_a_response_is_asked_for_in_beta() -> None:
    wanted = {
        "output_modalities": ["text"],
        "instructions": "Say hi.",
        "max_output_tokens": 5,
        "metadata": {"a": "b"},
        "audio": {"output": {"voice": "marin"}},
        "input": [spoken("output_audio")],
    }
    [event] = dialect("beta").outgoing({"type": "response.create", "response": wanted})
    assert event["response"] == {
        "modalities": ["text"],
        "instructions": "Say hi.",
        "max_response_output_tokens": 5,
        "metadata": {"a": "b"},
        "voice": "marin",
        "input": [spoken("audio")],
    }


def test_a_response_is_asked_for_in_the_sound_of_the_connection() -> None:
    wanted = {"audio": {"output": {"voice": "marin", "format": {"type": "audio/pcmu"}}}}
    [event] = dialect("openai").outgoing({"type": "response.create", "response": wanted})
    assert event["response"] == {"audio": {"output": {"voice": "marin", "format": PCM}}}


CLIENT_EVENTS: list[Event] = [
    {"type": "conversation.item.delete", "item_id": "i", "event_id": "e"},
    {"type": "conversation.item.truncate", "item_id": "i", "content_index": 0, "audio_end_ms": 5},
    {"type": "input_audio_buffer.clear"},
    {"type": "input_audio_buffer.commit", "event_id": "e"},
    {"type": "response.cancel", "response_id": "r"},
    {"type": "response.create"},
    {"type": "vendor.question", "to": "the server"},
]


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("event", CLIENT_EVENTS, ids=lambda event: event["type"])
def test_other_client_events_pass(name: str, event: Event) -> None:
    assert dialect(name).outgoing(event) == [event]


def query(url: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(url).query)


@pytest.mark.parametrize("name", DIALECTS)
def test_the_model_stands_in_the_url(name: str) -> None:
    url = dialect(name).url("wss://host/path?api-version=1", "gpt 4&more=x")
    field = "deployment" if name == "azure-preview" else "model"
    assert query(url) == {"api-version": ["1"], field: ["gpt 4&more=x"]}
    assert url.startswith("wss://host/path?")


def test_a_model_in_the_setting_is_not_replaced() -> None:
    assert dialect("openai").url("wss://host/?model=a", "b") == "wss://host/?model=a"
    assert dialect("openai").url("wss://host/", None) == "wss://host/"


def test_the_key_goes_into_the_header_that_the_server_reads() -> None:
    assert dialect("openai").headers("k") == {"Authorization": "Bearer k"}
    assert dialect("azure").headers("k") == {"api-key": "k"}
    assert dialect("azure-preview").headers("k") == {"api-key": "k"}
    assert dialect("beta").headers("k")["Authorization"] == "Bearer k"
    assert dialect("openai").headers(None) == {}


def test_settings_add_to_what_a_dialect_has_and_take_away() -> None:
    settings = RealtimeSettings(dialect="basic", has=("truncate",), lacks=("vad",))
    assert find(settings).capabilities == {"cancel", "truncate"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
NAMES = sorted(
    {e["type"] for e in [*SAME, *ITEMS]}
    | {event["type"] for pair in RENAMED for event in pair}
    | {"conversation.item.created"}
)
FIELDS = ("item", "response", "session", "error", "part", "delta", "item_id", "response_id")


@given(
    name=st.sampled_from(sorted(DIALECTS)),
    kind=st.sampled_from(NAMES) | st.text(max_size=8) | JSON,
    fields=st.dictionaries(st.sampled_from(FIELDS), JSON),
)
def test_whatever_fields_an_event_has_it_is_translated(
    name: str, kind: object, fields: Event
) -> None:
    assert dialect(name).incoming({"type": kind, **fields})
