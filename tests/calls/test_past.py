"""What one transceiver tells another of a call."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop.calls.past import Past

ITEM = {"id": "a", "type": "message", "role": "user", "content": []}


@pytest.mark.parametrize("owes", [False, True])
def test_what_is_told_is_what_was(owes: bool) -> None:
    past = Past(session={"instructions": "Be kind."}, items=[ITEM], owes_answer=owes)
    assert Past.from_json(past.to_json()) == past


def test_what_a_later_version_tells_besides_is_passed_over() -> None:
    assert Past.from_json('{"session": {}, "items": [], "mood": 3}') == Past(session={}, items=[])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"session": {}}',
        '{"session": [], "items": []}',
        '{"session": {}, "items": {}}',
        '{"session": {}, "items": ["a"]}',
        '{"session": {}, "items": [], "x": NaN}',
        "[" * 100_000,
    ],
    ids=range(10),
)
def test_what_is_something_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Past.from_json(text)


@given(st.text())
def test_no_text_raises_anything_else(text: str) -> None:
    with pytest.raises(ValueError):
        Past.from_json(text)
