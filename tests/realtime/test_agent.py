"""The Realtime server in front of an agent, without a call around it.

How it behaves in one is tested with `firsthop.calls.session`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop.call import Message, Played, SpeechEnded
from firsthop.config import TurnSettings
from firsthop.errors import EventError
from firsthop.realtime.agent import AgentConversation
from firsthop.realtime.conversation import Conversation
from firsthop.realtime.output import OutputAudioBuffer
from firsthop.realtime.session import Session

TEXT = "One two three four five six seven eight nine ten."


class Told:
    """A conversation, and what was told of it."""

    def __init__(self) -> None:
        self.events: list[Mapping[str, Any]] = []
        self.refused: list[EventError] = []
        self.items = Conversation()
        self.conversation = AgentConversation(
            Session("sess_1", "m", TurnSettings()),
            self.items,
            OutputAudioBuffer(self._emit),
            self._emit,
        )

    def _emit(self, event: Mapping[str, Any]) -> None:
        self.events.append(event)
        self.items.observe(event)

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    def say(self, utterance: int, ms: float, text: str = TEXT, *, made: bool = True) -> None:
        """Have the agent say something."""
        self.conversation.speeches.said(utterance, text)
        self.conversation.speeches.sounded(utterance, ms, [])
        if made:
            self.conversation.speeches.made(utterance, failed=False)

    def stop(self, utterance: int, ms: int, *, paced: bool = True) -> str:
        """Have it stopped; return what of it was heard, as the item tells."""
        played = Played(ms, interrupted=True)
        self.conversation.speeches.played(utterance, played, "turn_detected", paced=paced)
        [*_, item] = self.items
        transcript: str = item["content"][0]["transcript"]
        return transcript

    def ask(self, event: Mapping[str, Any]) -> list[Any]:
        """Have the client ask for something."""
        return list(self.conversation.receive(event, self.refused.append))


@pytest.mark.parametrize(
    ("ms", "heard"),
    [
        (0, ""),
        (60, ""),
        (100, "One"),
        (500, "One two three four five"),
        (999, "One two three four five six seven eight nine"),
        (1000, TEXT),
        (5000, TEXT),
    ],
)
def test_words_are_cut_where_the_sound_was(ms: int, heard: str) -> None:
    told = Told()
    told.say(0, 1000)
    assert told.stop(0, ms) == heard


def test_of_what_is_still_made_the_words_go_by_the_pace_of_speech() -> None:
    told = Told()
    told.say(0, 500, made=False)
    assert told.stop(0, 500) == "One two", "not all of them, though all of the sound was heard"
    assert told.events[-1]["audio_end_ms"] == 500


def test_who_plays_the_sound_himself_is_not_told_how_much_he_heard() -> None:
    told = Told()
    told.say(0, 1000)
    assert told.stop(0, 500, paced=False) == TEXT
    assert "conversation.item.truncated" not in told.types


@given(st.text(st.characters()), st.integers(0, 2000), st.booleans())
def test_what_was_heard_is_the_beginning_of_what_was_said(text: str, ms: int, made: bool) -> None:
    told = Told()
    told.say(0, 1000, text, made=made)
    assert text.startswith(told.stop(0, ms))


def test_two_seconds_by_events_are_two_seconds() -> None:
    told = Told()
    told.conversation.speeches.said(0, TEXT)
    for _ in range(100):
        told.conversation.speeches.sounded(0, 20, ["AAAA"])
    told.conversation.speeches.made(0, failed=False)
    assert told.types.count("response.output_audio.delta") == 100
    assert told.stop(0, 1000) == "One two three four five"


def test_sound_of_what_is_not_announced_yet_follows_the_announcement() -> None:
    told = Told()
    told.conversation.speeches.said(0, "First.")
    told.conversation.speeches.said(1, "Second.")
    told.conversation.speeches.sounded(1, 20, ["AAAA"])
    assert "response.output_audio.delta" not in told.types
    told.conversation.speeches.made(0, failed=False)
    second = told.types[told.types.index("response.done") + 1 :]
    assert second == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
    ]


def test_what_nobody_knows_is_passed_over() -> None:
    told = Told()
    told.conversation.speeches.sounded(7, 20, ["AAAA"])
    told.conversation.speeches.made(7, failed=False)
    told.conversation.speeches.played(7, Played(0, interrupted=True), "turn_detected", paced=True)
    told.conversation.handled(Message({"type": "x"}))
    assert told.events == []


def test_what_waits_for_an_answer_is_bounded_in_bytes_too() -> None:
    told = Told()
    minutes = bytes(10_000_000)
    for number in range(5):
        turn = SpeechEnded(0, minutes, f"item {number}")
        assert told.conversation.turn(turn, respond=False) == []
    [answer] = told.ask({"type": "response.create"})
    assert len(answer.audio) == 3 * len(minutes)
    assert answer.item_id == "item 4"


def test_a_client_may_only_say_what_it_heard_of_the_latest_speeches() -> None:
    told = Told()
    told.say(0, 1000)
    [first] = told.items
    for utterance in range(1, 30):
        told.say(utterance, 1000)
    assert len(told.conversation._order._spoken) == 20
    event = {"type": "conversation.item.truncate", "content_index": 0, "audio_end_ms": 100}
    told.ask({**event, "item_id": first["id"]})
    item = told.items.item(first["id"])
    assert item is not None
    # It is cut, but where in its words is not known any more.
    assert (item["status"], item["content"][0]["transcript"]) == ("incomplete", TEXT)
