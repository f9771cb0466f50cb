"""The body of a chat answer, in all forms that servers send."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop.agent.endpoints.completion import Completion
from firsthop.agent.endpoints.garbage import FailedError, GarbageError
from firsthop.agent.stages import Cut, Text, Thought, ToolRequest, Usage


def event(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]} | more).encode() + b"\n\n"


def text(content: str) -> bytes:
    return event({"content": content})


DONE = b"data: [DONE]\n\n"
CALL = {"index": 0, "id": "1", "function": {"name": "now", "arguments": "{}"}}


def thoughts(*body: bytes, step: int | None = None, finished: bool = True) -> list[Thought]:
    completion = Completion()
    whole = b"".join(body)
    step = step or max(1, len(whole))
    found = []
    for at in range(0, len(whole), step):
        found += completion.feed(whole[at : at + step])
        if completion.over:
            break
    else:
        found += completion.finish()
    assert completion.finished == finished
    return found


@pytest.mark.parametrize("step", [1, 7, None])
def test_text_comes_piece_by_piece_and_usage_last(step: int | None) -> None:
    usage = b'data: {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}\n\n'
    assert thoughts(
        event({"role": "assistant", "content": ""}),
        text("It"),
        text(" is."),
        event(finish="stop"),
        usage,
        DONE,
        step=step,
    ) == [Text("It"), Text(" is."), Usage(5, 2)]


def test_calls_come_when_the_model_ends_and_not_when_the_body_does() -> None:
    completion = Completion()
    assert completion.feed(event({"tool_calls": [CALL]})) == []
    assert completion.feed(event(finish="tool_calls")) == [ToolRequest("1", "now", "{}")]
    assert completion.finished
    assert not completion.over
    assert completion.feed(DONE) == []
    assert completion.over


@pytest.mark.parametrize(
    "body",
    [
        [text("Hi."), b"data:[DONE]\n\n"],
        [text("Hi."), b"data: [DONE]"],
        [text("Hi.").replace(b"\n", b"\r\n"), b"data: [DONE]\r\n\r\n"],
        [b"\xef\xbb\xbf", text("Hi."), DONE],
        [b"\n\n", text("Hi."), DONE],
        [b": ping\n\n", text("Hi."), b": ping\n\n", DONE],
        [b"event: chunk\n", text("Hi."), b"event: end\n", DONE],
        [event({"content": None}), text("Hi."), event({}), event(finish="stop")],
        [text("Hi."), event(finish="stop"), DONE, text("more"), b"garbage"],
        [event({"content": "Hi."}, finish="stop", error=None, usage=None)],
        [event({"refusal": "Hi."}), DONE],
        [event({"content": [{"type": "text", "text": "Hi."}, {"type": "x"}, None]}), DONE],
        [event({"reasoning_content": "hm", "reasoning": "hm"}), text("Hi."), DONE],
        [text("<think>hm"), text("</th"), text("ink>\n\nHi."), DONE],
        [b'data: {"choices": [], "prompt_filter_results": []}\n\n', text("Hi."), DONE],
        [b'data: {"choices": null}\n\n', text("Hi."), DONE],
    ],
    ids=lambda value: repr(value)[:30],
)
@pytest.mark.parametrize("step", [1, 5, None])
def test_servers_differ(body: list[bytes], step: int | None) -> None:
    said = [thought.text for thought in thoughts(*body, step=step) if isinstance(thought, Text)]
    assert "".join(said) == "Hi."


@pytest.mark.parametrize("step", [1, 5, None])
def test_a_server_that_does_not_stream_is_understood(step: int | None) -> None:
    answer = {
        "choices": [
            {
                "message": {
                    "content": "<think>hm</think>One moment.",
                    "tool_calls": [
                        {"id": "1", "function": {"name": "now", "arguments": "{}"}},
                        {"id": "2", "function": {"name": "add", "arguments": '{"a": 1}'}},
                    ],
                },
                "finish_reason": "tool_calls",
            }
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2},
    }
    body = b"\r\n" + json.dumps(answer, indent=1).encode()
    assert thoughts(body, step=step) == [
        Text("One moment."),
        ToolRequest("1", "now", "{}"),
        ToolRequest("2", "add", '{"a": 1}'),
        Usage(5, 2),
    ]


@pytest.mark.parametrize(
    ("reason", "cut"),
    [
        ("length", "max_output_tokens"),
        ("max_tokens", "max_output_tokens"),
        ("content_filter", "content_filter"),
    ],
)
def test_an_answer_that_is_not_complete_is_called_cut(reason: str, cut: str) -> None:
    half = {"index": 0, "id": "1", "function": {"name": "now", "arguments": '{"a'}}
    body = [text("It is"), event({"tool_calls": [half]}), event(finish=reason), DONE]
    assert thoughts(*body) == [Text("It is"), Cut(cut)]


def test_an_answer_without_an_end_is_not_finished() -> None:
    assert thoughts(text("It"), finished=False) == [Text("It")]


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": {"message": "no"}}',
        b'data: {"error": {"message": "no"}}\n\n',
        text("It") + b'event: error\ndata: {"error": "no"}\n\n',
    ],
)
def test_a_server_may_fail_within_its_answer(body: bytes) -> None:
    with pytest.raises(FailedError):
        thoughts(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n ",
        b"\xef\xbb",
        b"<html></html>",
        b"Bad Gateway",
        b": only a comment\n\n",
        b"{",
        b"{}",
        b'{"detail": "no such path"}',
        b"data: nonsense\n\n",
        b"data: 5\n\n",
        b'data: {"choices": 5}\n\n',
        b'data: {"choices": [5]}\n\n',
        b'data: {"choices": [{"delta": 5}]}\n\n',
        b'data: {"choices": [{"delta": {"tool_calls": 5}}]}\n\n',
        b"data: " + b"[" * 100_000 + b"\n\n",
        b"data: {" + b"x" * 600_000,
        text("word") * 50_000,
    ],
    ids=lambda body: repr(body[:30]),
)
def test_what_is_no_answer_is_garbage(body: bytes) -> None:
    with pytest.raises(GarbageError) as raised:
        thoughts(body, step=65_536)
    assert str(raised.value)


CHUNKS = st.one_of(
    st.binary(),
    st.text(max_size=20).map(text),
    st.sampled_from([DONE, b"data: ", b"\n", b"\r\n", b"{", event(finish="stop"), b"data: {}\n\n"]),
    st.recursive(
        st.one_of(st.none(), st.integers(), st.text(max_size=3)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.sampled_from(
                    ["choices", "delta", "message", "content", "tool_calls", "function", "usage"]
                ),
                inner,
                max_size=4,
            ),
        ),
        max_leaves=15,
    ).map(lambda value: b"data: " + json.dumps({"choices": [value]}).encode() + b"\n\n"),
)


@given(st.lists(CHUNKS))
def test_whatever_comes_is_an_answer_or_a_known_error(parts: list[bytes]) -> None:
    completion = Completion()
    try:
        for part in parts:
            completion.feed(part)
        completion.finish()
    except (GarbageError, FailedError) as error:
        assert completion.events >= 0
        assert isinstance(error, FailedError) or str(error)
