"""Events of clients: what is taken for one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop.errors import EventError
from firsthop.realtime.events import CLIENT_EVENTS, as_json, error_event, id_of, new_id, parse

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=15,
)
FIELDS = ("session", "audio", "item", "item_id", "previous_item_id", "audio_end_ms", "response")
EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(sorted(CLIENT_EVENTS)) | JSON},
    optional={"event_id": st.text() | JSON, **{name: JSON for name in FIELDS}},
)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "invalid_json"),
        ("hello", "invalid_json"),
        ('{"type": "session.update"', "invalid_json"),
        ("[" * 100_000, "invalid_json"),
        ('{"type": "x", "a": ' + "[" * 50_000 + "]" * 50_000 + "}", "invalid_json"),
        ("1" * 5000, "invalid_json"),
        ('{"type": "x", "n": NaN}', "invalid_json"),
        ('{"type": "x", "n": 1e999}', "invalid_json"),
        ("\x00", "invalid_json"),
        ("[]", "invalid_event"),
        ("null", "invalid_event"),
        ('"session.update"', "invalid_event"),
        ("{}", "invalid_event"),
        ('{"type": 3}', "invalid_event"),
    ],
)
def test_what_is_no_event_is_refused(text: str, code: str) -> None:
    with pytest.raises(EventError) as error:
        parse(text)
    assert error.value.code == code
    assert error.value.message


@pytest.mark.parametrize("kind", sorted(CLIENT_EVENTS))
def test_every_event_of_the_contract_is_checked(kind: str) -> None:
    needs_nothing = {
        "input_audio_buffer.commit",
        "input_audio_buffer.clear",
        "output_audio_buffer.clear",
        "response.create",
        "response.cancel",
    }
    text = json.dumps({"type": kind, "event_id": "evt"})
    if kind in needs_nothing:
        assert parse(text)["type"] == kind
        return
    with pytest.raises(EventError) as error:
        parse(text)
    assert error.value.event_id == "evt"
    assert error.value.param


def test_an_event_that_nobody_knows_is_nobodys_error() -> None:
    assert parse('{"type": "weather.ask", "session": 7}') == {"type": "weather.ask", "session": 7}


@pytest.mark.parametrize("event_id", [3, None, ["e"], {"a": {"b": 1}}, "x" * 100_000])
def test_what_cannot_be_an_id_is_not_sent_back(event_id: object) -> None:
    assert id_of({"event_id": event_id}) is None
    with pytest.raises(EventError) as error:
        parse(json.dumps({"type": "session.update", "event_id": event_id}))
    assert error.value.event_id is None


def test_an_error_is_told_with_all_that_is_known_of_it() -> None:
    error = EventError("some_code", "What is wrong.", param="item.id", event_id="evt")
    assert error_event(error) == {
        "type": "error",
        "error": {
            "type": "invalid_request_error",
            "code": "some_code",
            "message": "What is wrong.",
            "param": "item.id",
            "event_id": "evt",
        },
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"", {1, 2}])
def test_what_json_cannot_hold_is_not_sent(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        as_json({"value": value})


def test_ids_tell_what_they_are_of_and_differ() -> None:
    assert new_id("item").startswith("item_")
    assert len({new_id("item") for _ in range(1000)}) == 1000


@given(st.text() | JSON.map(json.dumps) | EVENTS.map(json.dumps))
def test_whatever_a_client_sends_is_an_event_or_an_error_that_can_be_told(text: str) -> None:
    try:
        event: dict[str, Any] = parse(text)
    except EventError as error:
        as_json(error_event(error))
    else:
        assert isinstance(event["type"], str)
        as_json(event)
