"""The output audio buffer: what clients are told of the playout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from firsthop.call import Place, Played
from firsthop.realtime.output import OutputAudioBuffer

WHOLE, CUT = Played(100, interrupted=False), Played(50, interrupted=True)


class Heard:
    """A buffer, and what was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.buffer = OutputAudioBuffer(self._tell)

    def _tell(self, event: Mapping[str, Any]) -> None:
        self.told.append((event["type"].removeprefix("output_audio_buffer."), event["response_id"]))

    def queue(self, *utterances: int, response: str = "r") -> None:
        """Queue utterances of a response."""
        for utterance in utterances:
            self.buffer.queued(utterance, Place(response, "item"))


def test_a_response_stops_when_it_is_done_and_heard() -> None:
    for done_first in (True, False):
        heard = Heard()
        heard.queue(0)
        heard.buffer.started(0)
        for step in ("done", "heard") if done_first else ("heard", "done"):
            assert heard.told == [("started", "r")]
            if step == "done":
                heard.buffer.response_done("r")
            else:
                heard.buffer.ended(0, WHOLE)
        assert heard.told == [("started", "r"), ("stopped", "r")]
        assert heard.buffer.empty


def test_a_response_of_several_utterances_starts_and_stops_once() -> None:
    heard = Heard()
    heard.queue(0, 1)
    for utterance in (0, 1):
        heard.buffer.started(utterance)
        heard.buffer.ended(utterance, WHOLE)
    heard.buffer.response_done("r")
    assert heard.told == [("started", "r"), ("stopped", "r")]


def test_a_response_that_is_cut_is_cleared_once_and_does_not_stop() -> None:
    heard = Heard()
    heard.queue(0, 1)
    heard.buffer.started(0)
    heard.buffer.ended(0, CUT)
    heard.buffer.ended(1, CUT)
    heard.buffer.response_done("r")
    assert heard.told == [("started", "r"), ("cleared", "r")]


def test_what_nobody_began_to_hear_is_not_told() -> None:
    heard = Heard()
    heard.queue(0)
    heard.buffer.ended(0, CUT)
    heard.buffer.response_done("r")
    heard.queue(1, response="empty")
    heard.buffer.ended(1, WHOLE)
    heard.buffer.response_done("empty")
    assert heard.told == []
    assert heard.buffer._responses == {}


def test_responses_keep_apart() -> None:
    heard = Heard()
    heard.queue(0, response="a")
    heard.queue(1, response="b")
    assert heard.buffer.holds("a")
    assert not heard.buffer.holds("c")
    heard.buffer.response_done("a")
    heard.buffer.response_done("b")
    heard.buffer.started(0)
    heard.buffer.ended(0, WHOLE)
    heard.buffer.started(1)
    heard.buffer.ended(1, CUT)
    assert heard.told == [("started", "a"), ("stopped", "a"), ("started", "b"), ("cleared", "b")]


def test_what_is_withdrawn_was_never_there() -> None:
    heard = Heard()
    heard.queue(0)
    heard.buffer.withdrawn(0)
    heard.buffer.withdrawn(0)
    heard.buffer.started(0)
    heard.buffer.ended(0, CUT)
    heard.buffer.response_done("r")
    assert (heard.told, heard.buffer._responses, heard.buffer.empty) == ([], {}, True)


def test_a_server_that_never_says_done_does_not_fill_the_memory() -> None:
    heard = Heard()
    for number in range(1000):
        heard.queue(number, response=str(number))
        heard.buffer.ended(number, WHOLE)
    assert len(heard.buffer._responses) <= 100


def test_the_length_of_the_latest_items_is_known() -> None:
    told: list[Mapping[str, Any]] = []
    output = OutputAudioBuffer(told.append)
    assert output.length_ms("item_0") == 0
    for number in range(40):
        output.sounded(Place("resp", f"item_{number}"), 100)
        output.sounded(Place("resp", f"item_{number}"), 20.5)
    assert output.length_ms("item_39") == 120.5
    assert output.length_ms("item_0") == 0, "long gone"
