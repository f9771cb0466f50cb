"""The packets that relays are measured with."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

from firsthop.bench import trace


def test_the_trace_is_opus_of_speech_in_many_sizes() -> None:
    sizes = trace.opus_sizes()
    assert len(sizes) > 50 * 30
    assert len(set(sizes)) > 20
    # 20 ms at 24 to 32 kbit/s, pauses and all.
    assert 60 <= sum(sizes) / len(sizes) <= 80
    assert max(sizes) < 1275


def test_a_trace_may_have_remarks(tmp_path: Path) -> None:
    path = tmp_path / "trace.txt"
    path.write_text("# 7 remarks\n60 61\n62\n")
    assert trace.opus_sizes(path) == [60, 61, 62]


def test_packets_are_rtp_with_the_sizes_of_the_trace() -> None:
    sizes = trace.opus_sizes()
    overhead = trace.RTP_HEADER_BYTES + trace.SRTP_TAG_BYTES
    packets = trace.packets(10, 500, seed=1)
    for packet in packets:
        assert packet.payload[0] >> 6 == 2
        assert len(packet.payload) - overhead in sizes
    assert {packet.client for packet in packets} == set(range(10))


def test_the_packets_of_one_client_are_numbered_in_order() -> None:
    numbers: dict[int, list[int]] = defaultdict(list)
    for packet in trace.packets(3, 300, seed=1):
        numbers[packet.client].append(int.from_bytes(packet.payload[2:4], "big"))
    for sent in numbers.values():
        assert all((b - a) % 65536 == 1 for a, b in pairwise(sent))


def test_the_same_seed_makes_the_same_packets() -> None:
    assert trace.packets(5, 50, seed=1) == trace.packets(5, 50, seed=1)
    assert trace.packets(5, 50, seed=1) != trace.packets(5, 50, seed=2)


def test_every_client_has_an_address_of_its_own() -> None:
    assert trace.client_address(0) == bytes([127, 16, 0, 0])
    assert trace.client_address(trace.MAX_CLIENTS - 1) == bytes([127, 31, 255, 255])
    with pytest.raises(ValueError, match="expected 0 to"):
        trace.client_address(trace.MAX_CLIENTS)
