"""Opus packets in Ogg files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop.load.ogg import OggError, opus_packets
from load.oggs import TAGS, head, laced, ogg, page

PACKETS = [bytes([8, n]) * (n + 1) for n in range(12)]


def test_packets_come_out_as_they_went_in_without_the_headers() -> None:
    assert list(opus_packets(ogg(PACKETS))) == PACKETS


@pytest.mark.parametrize("size", [254, 255, 256, 510, 700])
def test_a_packet_of_any_size_comes_out_whole(size: int) -> None:
    packets = [b"a" * size, b"b"]
    assert list(opus_packets(ogg(packets))) == packets


def test_a_packet_that_goes_on_in_the_next_page_comes_out_whole() -> None:
    opening = page(head(), laced(19), flags=2) + page(TAGS, laced(len(TAGS)), number=1)
    first = page(b"x" * 255, b"\xff", number=2)
    rest = page(b"y" * 10 + b"z", bytes([10, 1]), number=3, flags=1)
    assert list(opus_packets(opening + first + rest)) == [b"x" * 255 + b"y" * 10, b"z"]


def test_a_packet_that_the_end_of_the_file_cuts_off_is_left_out() -> None:
    assert list(opus_packets(ogg(PACKETS[:5]) + ogg(PACKETS)[-20:-3])) == PACKETS[:5]


def test_other_streams_of_the_file_are_passed_over() -> None:
    video = page(b"\x80theora", laced(7), stream=1, flags=2)
    assert list(opus_packets(video + ogg(PACKETS))) == PACKETS


def test_after_damage_it_goes_on_with_the_next_page() -> None:
    whole = ogg(PACKETS)
    opening = ogg([])
    damaged = opening + b"OggS\x05garbage" + whole[len(opening) :]
    assert list(opus_packets(damaged)) == PACKETS


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "no Ogg"),
        (b"RIFF....WAVE", "no Ogg"),
        (page(b"\x01vorbis", laced(7), flags=2), "without Opus"),
        (ogg([], channels=6), "of 6 channels"),
        (page(head()[:10], laced(10), flags=2), "another version"),
        (ogg([]) + page(b"x" * 255 * 255, b"\xff" * 255) * 20, "of more than 1 MiB"),
    ],
)
def test_what_is_no_ogg_opus_is_refused_by_name(data: bytes, problem: str) -> None:
    # Pages of the last go on with each other.
    data = (
        data
        if len(data) < 10_000
        else data.replace(b"OggS\0\0" + b"\0" * 8, b"OggS\0\1" + b"\0" * 8)
    )
    with pytest.raises(OggError, match=problem):
        list(opus_packets(data))


@given(st.binary(max_size=400), st.integers(0, 300), st.binary(max_size=30))
def test_whatever_a_file_holds_the_worst_is_an_error_that_says_so(
    data: bytes, at: int, bytes_there: bytes
) -> None:
    whole = ogg(PACKETS)
    for broken in (data, b"OggS" + data, whole[:at] + bytes_there + whole[at:]):
        try:
            packets = list(opus_packets(broken))
        except OggError:
            continue
        assert sum(map(len, packets)) <= len(broken)
