"""Prepared datagrams, and the bundles in them."""

from __future__ import annotations

import random
import struct
from pathlib import Path

from firsthop.bench.datagrams import BUNDLE_BYTES, BURST, Endpoint, Send, bundles, trains, write
from reference import re1

TO = Endpoint.parse("127.0.0.1:21000")
KEY = bytes(16)


def record(number: int, size: int) -> bytes:
    header = re1.Header(
        direction=re1.DOWN,
        flags=3,
        key_id=0,
        hop_limit=3,
        tick=1,
        client=re1.Address.parse(f"127.16.0.{number % 256}:23000"),
        ingress=0,
        return_hop=None,
    )
    return re1.record(re1.seal(header, KEY), bytes(size))


def test_an_endpoint_reads_as_it_was_written() -> None:
    assert str(TO) == "127.0.0.1:21000"


def test_a_file_has_an_entry_and_its_bytes_per_send(tmp_path: Path) -> None:
    sends = [Send(TO, b"abc", source=bytes([127, 16, 0, 1])), Send(TO, b"", segment=7, packets=9)]
    data = write(tmp_path / "file", sends).read_bytes()
    first = struct.pack("<4s4s2sHII", b"\x7f\x10\0\1", b"\x7f\0\0\1", b"\x52\x08", 0, 1, 3)
    second = struct.pack("<4s4s2sHII", bytes(4), b"\x7f\0\0\1", b"\x52\x08", 7, 9, 0)
    assert data == first + b"abc" + second


def test_bundles_hold_all_records_and_stay_below_their_limit() -> None:
    records = [bytes([number]) * 300 for number in range(10)]
    made = list(bundles(records))
    assert b"".join(bundle for bundle, _ in made) == b"".join(records)
    assert [count for _, count in made] == [4, 4, 2]
    assert all(len(bundle) <= BUNDLE_BYTES for bundle, _ in made)


def test_trains_cut_into_datagrams_give_every_record_back() -> None:
    rng = random.Random(1)
    records = [record(number, rng.randint(40, 140)) for number in range(2 * BURST)]
    found = []
    for send in trains(records, TO):
        assert len(send.payload) < 65_508
        step = send.segment or len(send.payload)
        cut = [send.payload[at : at + step] for at in range(0, len(send.payload), step)]
        assert len(cut) <= 64
        parsed = [re1.split(datagram) for datagram in cut]
        assert all(well_formed for _, well_formed in parsed)
        count = sum(len(inside) for inside, _ in parsed)
        assert count == send.packets
        found += [(str(one.header.client), len(one.payload)) for many, _ in parsed for one in many]
    expected = [re1.split(one)[0][0] for one in records]
    assert found == [(str(one.header.client), len(one.payload)) for one in expected]


def test_a_burst_of_trains_ends_where_a_burst_of_packets_does() -> None:
    counts = [send.packets for send in trains([record(n, 140) for n in range(2 * BURST)], TO)]
    total, boundaries = 0, []
    for count in counts:
        total += count
        boundaries.append(total)
    assert BURST in boundaries
    assert boundaries[-1] == 2 * BURST
