"""Server-sent events, as the standard has them and as servers send them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop.agent.endpoints.garbage import GarbageError
from firsthop.agent.endpoints.sse import EventStream


def events(body: bytes, *, step: int = 1) -> list[str]:
    stream = EventStream()
    found = []
    for at in range(0, len(body), step):
        found += stream.feed(body[at : at + step])
    return found + stream.finish()


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b"data: one\n\ndata: two\n\n", ["one", "two"]),
        (b"data:one\n\ndata:  two\n\n", ["one", " two"]),
        (b"data: one\r\n\r\ndata: two\r\n\r\n", ["one", "two"]),
        (b"data: one\r\rdata: two\r\r", ["one", "two"]),
        (b"\xef\xbb\xbfdata: one\n\n", ["one"]),
        (b": hello\n\ndata: one\n: more\n\n:\n\n", ["one"]),
        (b"event: message\nid: 1\nretry: 5\ndata: one\n\n", ["one"]),
        (b"data: one\ndata: two\n\n", ["one\ntwo"]),
        (b"data\n\n", [""]),
        (b"event: ping\n\n\n\n", []),
        (b"data: one", ["one"]),
        (b"data: one\n", ["one"]),
        ("data: größer 🙂\n\n".encode(), ["größer 🙂"]),
        (b"data: \xff\n\n", ["\ufffd"]),
        (b"nonsense\nDATA: one\n data: two\n\n", []),
        (b"", []),
    ],
)
@pytest.mark.parametrize("step", [1, 2, 3, 1000])
def test_events_are_found_however_they_are_cut(body: bytes, data: list[str], step: int) -> None:
    assert events(body, step=step) == data


def test_an_event_comes_with_its_blank_line() -> None:
    stream = EventStream()
    assert stream.feed(b"data: one\n") == []
    assert stream.feed(b"\n") == ["one"]
    assert stream.feed(b"data: two\r\n\r") == ["two"]
    assert stream.feed(b"\ndata: three\n\n") == ["three"]


@pytest.mark.parametrize("body", [b"x" * 65_536, b"data: " + b"y" * 65_530, b"data: yyyy\n" * 6000])
def test_what_has_no_end_is_not_kept(body: bytes) -> None:
    stream = EventStream()
    with pytest.raises(GarbageError):
        for _ in range(100):
            stream.feed(body)


@given(st.lists(st.one_of(st.binary(), st.sampled_from([b"data:", b"\n", b"\r", b"\r\n", b": "]))))
def test_garbage_is_no_reason_to_fail(parts: list[bytes]) -> None:
    stream = EventStream()
    found = [event for part in parts for event in stream.feed(part)] + stream.finish()
    assert found == events(b"".join(parts), step=7)
