"""Tool calls, of pieces as different servers send them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop.agent.endpoints.garbage import GarbageError
from firsthop.agent.endpoints.toolcalls import ToolCalls


def piece(index: int | None = None, id: str | None = None, **function: Any) -> dict[str, Any]:
    """A piece with those of its fields that are given."""
    fields: dict[str, Any] = {"index": index, "id": id, "function": function or None}
    return {name: value for name, value in fields.items() if value is not None}


def assembled(*pieces: dict[str, Any]) -> list[tuple[str, str, str]]:
    calls = ToolCalls()
    for each in pieces:
        calls.feed([each])
    return [(call.call_id, call.name, call.arguments) for call in calls.finish()]


A = '{"a": 1}'
B = '{"b": [2, 3]}'


def test_pieces_are_joined_by_index_as_openai_sends_them() -> None:
    assert assembled(
        piece(0, "call_1", name="add", arguments=""),
        piece(0, arguments='{"a"'),
        piece(0, arguments=": 1}"),
        piece(1, "call_2", name="now", arguments=""),
        piece(1, arguments="{}"),
    ) == [("call_1", "add", A), ("call_2", "now", "{}")]


def test_pieces_of_several_calls_may_alternate() -> None:
    assert assembled(
        piece(0, "1", name="add"),
        piece(1, "2", name="now"),
        piece(0, arguments='{"a"'),
        piece(1, arguments='{"b": '),
        piece(0, arguments=": 1}"),
        piece(1, arguments="[2, 3]}"),
    ) == [("1", "add", A), ("2", "now", B)]


def test_calls_that_all_have_index_0_are_told_apart_by_their_ids() -> None:
    assert assembled(
        piece(0, "1", name="add", arguments=A), piece(0, "2", name="add", arguments=B)
    ) == [("1", "add", A), ("2", "add", B)]


def test_calls_without_ids_that_all_have_index_0_are_told_apart_by_being_whole() -> None:
    calls = assembled(piece(0, name="add", arguments=A), piece(0, name="add", arguments=B))
    assert [call[1:] for call in calls] == [("add", A), ("add", B)]


def test_calls_without_an_index_are_told_apart_by_their_names() -> None:
    assert [
        call[1:]
        for call in assembled(
            piece(name="add"),
            piece(arguments='{"a": '),
            piece(arguments="1}"),
            piece(name="now"),
            piece(name="add", arguments=B),
        )
    ] == [("add", A), ("now", "{}"), ("add", B)]


def test_what_repeats_name_and_id_is_one_call() -> None:
    assert assembled(
        piece(0, "1", name="add", arguments='{"a"'),
        piece(0, "1", name="add", arguments=": "),
        piece(1, "1", name="add", arguments="1}"),
    ) == [("1", "add", A)]


def test_a_name_may_come_in_pieces() -> None:
    assert assembled(piece(0, "1", name="get_"), piece(0, name="time"), piece(0, arguments=A)) == [
        ("1", "get_time", A)
    ]


def test_calls_without_ids_get_some() -> None:
    calls = assembled(piece(0, "", name="add"), piece(1, name="now"))
    ids = {call[0] for call in calls}
    assert len(ids) == 2
    assert all(call_id.startswith("call_") for call_id in ids)


@pytest.mark.parametrize("arguments", [None, "", {}])
def test_no_arguments_are_an_empty_object(arguments: object) -> None:
    assert assembled(piece(0, "1", name="now", arguments=arguments)) == [("1", "now", "{}")]


def test_arguments_may_be_an_object() -> None:
    assert assembled(piece(0, "1", name="add", arguments={"a": 1})) == [("1", "add", A)]


def test_an_answer_that_is_cut_has_no_halves_of_calls() -> None:
    calls = ToolCalls()
    calls.feed([piece(0, "1", name="add", arguments=A), piece(1, "2", name="add", arguments='{"')])
    assert [call.call_id for call in calls.finish(cut=True)] == ["1"]


@pytest.mark.parametrize(
    "pieces",
    [
        {},
        "call",
        [None],
        [piece(0, "1", arguments=A)],
        [piece(index, f"{index}", name="x") for index in range(65)],
    ],
)
def test_what_makes_no_sense_is_refused(pieces: object) -> None:
    calls = ToolCalls()
    with pytest.raises(GarbageError):
        calls.feed(pieces)
        calls.finish()


JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(["index", "id", "function", "name", "arguments"]), inner, max_size=5
        ),
    ),
    max_leaves=10,
)


@given(st.lists(JUNK))
def test_garbage_is_calls_or_an_error(pieces: list[object]) -> None:
    calls = ToolCalls()
    try:
        for each in pieces:
            calls.feed([each])
        found = calls.finish()
    except GarbageError:
        return
    assert all(call.name and call.call_id and call.arguments for call in found)
    assert json.dumps([call.arguments for call in found])
