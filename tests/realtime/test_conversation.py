"""The item cache, fed by events from inside and outside."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop.realtime.conversation import MAX_BYTES, MAX_ITEMS, Conversation
from firsthop.realtime.events import as_json
from realtime.test_events import JSON


def item(item_id: str, **fields: object) -> dict[str, Any]:
    """A user's message."""
    return {"id": item_id, "type": "message", "role": "user", "content": [], **fields}


def added(item: object, kind: str = "conversation.item.added") -> dict[str, Any]:
    """The event that tells of an item."""
    return {"type": kind, "item": item}


def ids(conversation: Conversation) -> list[str]:
    """The ids of all items."""
    return [str(item["id"]) for item in conversation]


def test_items_are_followed_from_whichever_event_tells_of_them() -> None:
    conversation = Conversation()
    assert conversation.last is None
    kinds = ("item.added", "item.created", "item.done")
    for number, kind in enumerate(kinds):
        conversation.observe(added(item(f"item {number}"), f"conversation.{kind}"))
    for number, kind in enumerate(("added", "done"), start=3):
        conversation.observe(added(item(f"item {number}"), f"response.output_item.{kind}"))
    assert ids(conversation) == [f"item {number}" for number in range(5)]
    assert conversation.last == "item 4"
    conversation.observe(added(item("item 1", status="completed")))
    assert conversation.last == "item 4", "it is not new"
    assert (conversation.item("item 1") or {})["status"] == "completed"


def test_sound_is_not_kept() -> None:
    conversation = Conversation()
    content = [{"type": "input_audio", "audio": "x" * 1000, "transcript": None}, "nonsense"]
    conversation.observe(added(item("a", content=content)))
    assert (conversation.item("a") or {})["content"] == [
        {"type": "input_audio", "transcript": None}
    ]


def test_a_transcript_stays_when_the_item_is_told_again_without_it() -> None:
    conversation = Conversation()
    part = {"type": "input_audio", "transcript": None}
    conversation.observe(added(item("a", content=[part])))
    completed = "conversation.item.input_audio_transcription.completed"
    conversation.observe(
        {"type": completed, "item_id": "a", "content_index": 0, "transcript": "Hi."}
    )
    conversation.observe(added(item("a", content=[part]), "conversation.item.done"))
    assert (conversation.item("a") or {})["content"][0]["transcript"] == "Hi."


def test_what_was_not_heard_is_cut() -> None:
    conversation = Conversation()
    part = {"type": "output_audio", "transcript": "One two."}
    conversation.observe(added(item("a", status="completed", content=[part])))
    conversation.cut("a", None)
    assert (conversation.item("a") or {})["status"] == "incomplete"
    conversation.cut("a", "One")
    assert (conversation.item("a") or {})["content"] == [part | {"transcript": "One"}]
    conversation.cut("none", "One")


def test_the_last_item_is_the_one_before_when_it_is_deleted() -> None:
    conversation = Conversation()
    for name in "abc":
        conversation.observe(added(item(name)))
    conversation.observe({"type": "conversation.item.deleted", "item_id": "c"})
    assert conversation.last == "b"
    conversation.observe({"type": "conversation.item.deleted", "item_id": "c"})
    assert ids(conversation) == ["a", "b"]


def test_items_are_moved() -> None:
    conversation = Conversation()
    for name in "abcd":
        conversation.observe(added(item(name)))
    conversation.place("d", after=None)
    assert (ids(conversation), conversation.last) == (["d", "a", "b", "c"], "c")
    conversation.place("d", after="a")
    assert ids(conversation) == ["a", "d", "b", "c"]
    conversation.place("d", after="none")
    conversation.place("none", after=None)
    conversation.place("d", after="d")
    assert ids(conversation) == ["a", "d", "b", "c"]


def test_only_so_many_items_are_kept_and_the_oldest_go() -> None:
    conversation = Conversation()
    for number in range(MAX_ITEMS + 10):
        conversation.observe(added(item(str(number))))
    assert len(conversation) == MAX_ITEMS
    assert ids(conversation)[0] == "10"
    assert conversation.item("9") is None


def test_only_so_much_is_kept_and_the_account_is_right() -> None:
    conversation = Conversation()
    for number in range(30):
        conversation.observe(added(item(str(number), filling="x" * (MAX_BYTES // 10))))
        kept = sum(len(as_json(item)) for item in conversation)
        assert conversation._bytes == kept <= MAX_BYTES
    assert ids(conversation)[-1] == "29"
    conversation.observe(added(item("huge", filling="x" * MAX_BYTES)))
    assert conversation.item("huge") is None
    for name in ids(conversation):
        conversation.observe({"type": "conversation.item.deleted", "item_id": name})
    assert (len(conversation), conversation._bytes, conversation.last) == (0, 0, None)


KINDS = st.sampled_from(
    [
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.deleted",
        "conversation.item.input_audio_transcription.completed",
        "response.output_item.added",
    ]
)
ITEMS = st.fixed_dictionaries({}, optional={"id": JSON | st.sampled_from("ab"), "content": JSON})
OUTSIDE = st.fixed_dictionaries(
    {"type": KINDS},
    optional={
        "item": JSON | ITEMS,
        "item_id": JSON | st.sampled_from("ab"),
        "content_index": JSON | st.integers(-1, 2),
        "transcript": JSON,
    },
)


@given(st.lists(OUTSIDE, max_size=10))
def test_whatever_comes_from_outside_does_no_harm(events: list[dict[str, Any]]) -> None:
    conversation = Conversation()
    for event in events:
        conversation.observe(event)
        assert conversation.last is None or conversation.item(conversation.last) is not None
        assert conversation._bytes == sum(len(as_json(item)) for item in conversation)


@pytest.mark.parametrize(
    ("share", "kept"),
    [(0.0, ""), (0.3, "one"), (0.5, "one"), (0.8, "one two"), (1.0, "one two three")],
)
def test_of_an_item_that_was_cut_off_the_words_are_kept_that_were_heard(
    share: float, kept: str
) -> None:
    conversation = Conversation()
    content = [{"type": "output_audio", "transcript": "one two three"}]
    item = {"id": "item_1", "type": "message", "role": "assistant", "content": content}
    conversation.observe({"type": "conversation.item.done", "item": item})
    conversation.shorten("item_1", share)
    conversation.shorten("item_2", share)
    shortened = conversation.item("item_1")
    assert shortened is not None
    assert shortened["content"][0]["transcript"] == kept
    assert shortened["status"] == "incomplete"


def test_what_was_said_elsewhere_is_there_from_the_start() -> None:
    conversation = Conversation()
    conversation.restore([item("a"), item("b")])
    assert (ids(conversation), conversation.last) == (["a", "b"], "b")
    conversation.observe(added(item("c")))
    assert ids(conversation) == ["a", "b", "c"]


DELTA = "response.output_audio_transcript.delta"


def test_what_is_being_said_is_told_as_far_as_it_is_known() -> None:
    conversation = Conversation()
    conversation.observe(added(item("a")))
    conversation.observe(added(item("b", role="assistant", status="in_progress")))
    assert [one["id"] for one in conversation.so_far()] == ["a"], "nothing was said yet"
    for words in ("Good ", "morning."):
        conversation.observe({"type": DELTA, "item_id": "b", "delta": words})
    _, said = conversation.so_far()
    part = {"type": "output_audio", "transcript": "Good morning."}
    assert (said["status"], said["content"]) == ("incomplete", [part])
    assert [one["id"] for one in conversation.so_far(unfinished=False)] == ["a"]

    done = item("b", role="assistant", status="completed", content=[{**part, "transcript": "Hi."}])
    conversation.observe(added(done, "conversation.item.done"))
    assert conversation.so_far(unfinished=False)[1] == done


def test_what_is_being_written_is_told_too() -> None:
    conversation = Conversation()
    conversation.observe(added(item("b", role="assistant", status="in_progress")))
    conversation.observe({"type": "response.output_text.delta", "item_id": "b", "delta": "Hi"})
    [said] = conversation.so_far()
    assert said["content"] == [{"type": "output_text", "text": "Hi"}]


def test_words_without_an_item_and_without_an_end_are_bounded() -> None:
    conversation = Conversation()
    for number in range(1000):
        conversation.observe({"type": DELTA, "item_id": str(number), "delta": "x" * 100_000})
    assert conversation.so_far() == []
    assert len(conversation._unfinished) < 100
    assert sum(len(part["transcript"]) for part in conversation._unfinished.values()) < 2**20


@given(JSON, JSON)
def test_no_words_can_raise(item_id: Any, delta: Any) -> None:
    conversation = Conversation()
    conversation.observe({"type": DELTA, "item_id": item_id, "delta": delta})
    assert conversation.so_far() == []
