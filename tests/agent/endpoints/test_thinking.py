"""What a model thinks aloud is not said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop.agent.endpoints.thinking import Thinking


def said(text: str, *, step: int = 1) -> str:
    thinking = Thinking()
    pieces = [thinking.feed(text[at : at + step]) for at in range(0, len(text), step)]
    return "".join([*pieces, thinking.finish()])


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("<think>hm</think>Hello.", "Hello."),
        ("<think>\nhm\n</think>\n\nHello.", "Hello."),
        ("Well <think>hm</think> so.", "Well so."),
        ("<think>a</think><think>b</think>Hello.", "Hello."),
        ("<think>never ends", ""),
        ("</think>Hello.", "Hello."),
        ("1 < 2 and <thing> and <th", "1 < 2 and <thing> and <th"),
        ("a <think", "a <think"),
        ("", ""),
    ],
)
@pytest.mark.parametrize("step", [1, 2, 5, 100])
def test_what_is_thought_is_left_out(text: str, rest: str, step: int) -> None:
    assert said(text, step=step) == rest


def test_nothing_waits_that_cannot_become_a_tag() -> None:
    thinking = Thinking()
    assert thinking.feed("Hello <") == "Hello "
    assert thinking.feed("t") == ""
    assert thinking.feed("o>") == "<to>"


@given(st.lists(st.sampled_from(["<think>", "</think>", "<", "th", "ink>", " ", "a", "b\n"])))
def test_tags_are_found_however_they_are_cut(pieces: list[str]) -> None:
    text = "".join(pieces)
    thinking = Thinking()
    found = "".join([*map(thinking.feed, pieces), thinking.finish()])
    assert found == said(text, step=1) == said(text, step=1000)
