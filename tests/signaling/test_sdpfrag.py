"""SDP fragments: what is read of them, and that each error names its line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop.errors import SignalingError
from firsthop.signaling import sdpfrag

CANDIDATE = "1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw"
LINES = [
    "a=ice-options:trickle ice2",
    "a=group:BUNDLE 0 1",
    "a=ice-ufrag:EsAw",
    "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1",
    "m=audio 9 UDP/TLS/RTP/SAVPF 111",
    "a=mid:0",
    f"a=candidate:{CANDIDATE}",
    "a=candidate:2 1 tcp 1518280447 9c5e.local 9 typ host tcptype active",
    "a=end-of-candidates",
    "",
]


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_a_fragment_tells_whose_candidates_it_holds(end: str) -> None:
    fragment = sdpfrag.parse(end.join(LINES).encode())
    assert fragment.credentials == ("EsAw", "P2uYro0UCOQ4zxjKXaWCBui1")
    assert fragment.candidates[0] == CANDIDATE
    assert len(fragment.candidates) == 2
    assert fragment.complete


def test_credentials_may_stand_in_the_media_part_and_candidates_may_follow_later() -> None:
    lines = ["m=audio 9 RTP/AVP 0", "a=mid:0", *LINES[2:4]]
    assert sdpfrag.parse("\r\n".join(lines).encode()) == sdpfrag.Fragment(
        "EsAw", "P2uYro0UCOQ4zxjKXaWCBui1", (), False
    )


def test_a_fragment_without_credentials_is_for_the_session_there_is() -> None:
    fragment = sdpfrag.parse("\r\n".join(LINES[4:7]).encode())
    assert (fragment.credentials, fragment.complete) == (None, False)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (LINES[0], "v=0", 1),
        (LINES[0], "nonsense", 1),
        (LINES[2], "a=ice-ufrag:é", 3),
        (LINES[2], "a=ice-ufrag:abc", 3),
        (LINES[3], "a=ice-pwd:short", 4),
        (LINES[4], "m=audio", 5),
        (LINES[4], "a=x", 6),
        (LINES[5], "a=mid:", 6),
        (LINES[5], "a=ice-ufrag:other", 6),
        (LINES[5], "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui2", 6),
        (LINES[5], "a=x", 7),
        (LINES[6], "a=candidate:", 7),
        (LINES[6], "a=candidate:1 1 udp 1 192.0.2.1 port typ host", 7),
        (LINES[6], "a=candidate:1 1 udp 1 192.0.2.1 9 kind host", 7),
        (LINES[6], "\r\n".join([LINES[6]] * 65), 71),
        (LINES[4], "\r\n".join([LINES[4]] * 5), 9),
    ],
)
def test_what_is_malformed_is_named_by_its_line(old: str, new: str, line: int) -> None:
    with pytest.raises(SignalingError) as error:
        sdpfrag.parse("\r\n".join(LINES).replace(old, new).encode())
    assert (error.value.status, error.value.code) == (400, "invalid_fragment")
    assert f"line {line}:" in error.value.message


@pytest.mark.parametrize(
    "raw", [b"", b"\r\n", b"\xff", b"a=group:BUNDLE 0\r\n", b"a=ice-ufrag:EsAw"]
)
def test_a_fragment_that_says_nothing_is_malformed(raw: bytes) -> None:
    with pytest.raises(SignalingError) as error:
        sdpfrag.parse(raw)
    assert error.value.code == "invalid_fragment"


@given(st.lists(st.sampled_from(LINES) | st.text(max_size=20)), st.binary(max_size=4))
def test_whatever_is_sent_is_read_or_refused(lines: list[str], more: bytes) -> None:
    raw = "\n".join(lines).encode(errors="surrogatepass") + more
    try:
        fragment = sdpfrag.parse(raw)
    except SignalingError as error:
        assert error.code == "invalid_fragment"
    else:
        assert len(fragment.candidates) <= 64
