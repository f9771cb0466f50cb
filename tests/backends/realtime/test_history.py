"""What a new connection is told of a conversation."""

from __future__ import annotations

from typing import Any

import pytest

from firsthop.backends.realtime.history import retold


def message(item_id: str, role: str, *content: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": item_id,
        "object": "realtime.item",
        "type": "message",
        "role": role,
        "status": "completed",
        "content": list(content),
    }


def test_sound_becomes_its_transcript() -> None:
    items = [
        message("a", "system", {"type": "input_text", "text": "Be brief."}),
        message("b", "user", {"type": "input_audio", "transcript": "hello"}),
        message("c", "assistant", {"type": "output_audio", "transcript": "hi"}),
    ]
    assert [(item["role"], item["content"]) for item in retold(items)] == [
        ("system", [{"type": "input_text", "text": "Be brief."}]),
        ("user", [{"type": "input_text", "text": "hello"}]),
        ("assistant", [{"type": "output_text", "text": "hi"}]),
    ]


def test_calls_and_their_outputs_are_told_as_they_are() -> None:
    call = {"id": "d", "type": "function_call", "call_id": "c", "name": "n", "arguments": "{}"}
    output = {"id": "e", "type": "function_call_output", "call_id": "c", "output": "12"}
    assert retold([{**call, "status": "completed"}, output]) == [call, output]


@pytest.mark.parametrize(
    "item",
    [
        message("a", "user", {"type": "input_audio", "transcript": None}),
        message("a", "user"),
        message("a", "stranger", {"type": "input_text", "text": "hello"}),
        {"id": "a", "type": "function_call", "call_id": "c", "name": "n", "status": "in_progress"},
        {"id": "a", "type": "function_call", "call_id": "c", "name": "n", "arguments": None},
        {"id": "a", "type": "mcp_list_tools", "tools": []},
        {"type": "message"},
        {},
    ],
    ids=str,
)
def test_what_cannot_be_told_in_words_is_left_out(item: dict[str, Any]) -> None:
    assert retold([item]) == []


def test_the_newest_are_told_when_there_are_too_many() -> None:
    items = [message(f"i{n}", "user", {"type": "input_text", "text": "x"}) for n in range(300)]
    assert [item["id"] for item in retold(items)] == [f"i{n}" for n in range(100, 300)]


def test_the_newest_are_told_when_they_are_too_long() -> None:
    text = "x" * 50_000
    items = [message(f"i{n}", "user", {"type": "input_text", "text": text}) for n in range(5)]
    assert [item["id"] for item in retold(items)] == ["i3", "i4"]
