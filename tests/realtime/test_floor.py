"""Who has the floor, as events tell."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from firsthop.realtime.floor import Floor
from realtime.test_events import JSON

STARTED = {"type": "input_audio_buffer.speech_started"}
STOPPED = {"type": "input_audio_buffer.speech_stopped"}
HEARD = {"type": "output_audio_buffer.started", "response_id": "r"}


def response(kind: str, response_id: str = "r") -> dict[str, Any]:
    """An event of a response."""
    return {"type": f"response.{kind}", "response": {"id": response_id}}


def after(*events: dict[str, Any]) -> tuple[bool, bool, bool]:
    """Whether the caller speaks, a turn is open, and an answer is made, after these events."""
    floor = Floor()
    for event in events:
        floor.observe(event)
    return floor.caller_speaking, floor.turn_open, floor.answering


def test_at_first_nobody_has_it() -> None:
    assert after() == (False, False, False)


def test_a_turn_is_open_from_its_end_until_something_comes_of_it() -> None:
    assert after(STARTED) == (True, False, False)
    assert after(STARTED, STOPPED) == (False, True, False)
    assert after(STARTED, STOPPED, response("created")) == (False, False, True)
    assert after(STARTED, STOPPED, HEARD) == (False, False, False)


def test_an_answer_is_made_until_each_response_is_done() -> None:
    made = [response("created", "a"), response("created", "b"), response("done", "a")]
    assert after(*made) == (False, False, True)
    assert after(*made, response("done", "b")) == (False, False, False)
    assert after(*made, response("done", "b"), response("done", "c")) == (False, False, False)


@pytest.mark.parametrize("kind", ["committed", "cleared"])
def test_a_client_may_end_a_turn_that_has_no_other_end(kind: str) -> None:
    assert after(STARTED, {"type": f"input_audio_buffer.{kind}"}) == (False, False, False)


def test_bots_that_speak_rtvi_are_understood() -> None:
    words = [{"type": f"user-{what}-speaking"} for what in ("started", "stopped")]
    assert after(words[0]) == (True, False, False)
    assert after(*words) == (False, True, False)
    assert after(*words, {"type": "bot-started-speaking"}) == (False, False, False)


def test_responses_that_never_end_are_not_kept_for_ever() -> None:
    floor = Floor()
    for number in range(1000):
        floor.observe(response("created", str(number)))
    for number in range(900, 1000):
        floor.observe(response("done", str(number)))
    assert not floor.answering


@given(JSON, JSON)
def test_no_event_can_raise(kind: Any, given: Any) -> None:
    floor = Floor()
    for name in (kind, "response.created", "response.done"):
        floor.observe({"type": name, "response": given})
