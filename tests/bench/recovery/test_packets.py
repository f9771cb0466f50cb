"""Packets of stand-ins, by the formats that the product reads."""

from __future__ import annotations

import socket

import pytest

from firsthop._native import seal_hop_header
from firsthop.bench.recovery import packets

CLIENT = "127.16.0.9:5000"
TRANSACTION = bytes(range(12))


def up(payload: bytes, client: str = CLIENT, return_hop: str | None = None) -> bytes:
    header = seal_hop_header(
        secret=bytes(32),
        key_id=0,
        owner="127.0.0.1:3500",
        direction="up",
        flags=0,
        hop_limit=3,
        tick=7,
        client=client,
        ingress=2,
        return_hop=return_hop,
    )
    return packets.with_payload(header, payload)


def test_media_says_which_packet_it_is() -> None:
    packet = packets.media(300, 70_000)
    assert packet[0] == 0x80
    assert packets.which_media(packet) == (300, 70_000)


@pytest.mark.parametrize("packet", [b"", b"\x80", packets.binding_request("u", TRANSACTION)])
def test_other_packets_are_no_media(packet: bytes) -> None:
    assert packets.which_media(packet) is None


def test_an_answer_to_a_binding_request_repeats_its_transaction() -> None:
    answer = packets.binding_answer(packets.binding_request("ufrag", TRANSACTION))
    assert answer == bytes.fromhex("010100002112a442") + TRANSACTION
    assert packets.binding_answer(answer) is None
    assert packets.binding_answer(packets.media(1, 2)) is None


def test_a_binding_request_has_the_ufrag_in_its_username() -> None:
    request = packets.binding_request("ufrag", TRANSACTION)
    assert len(request) % 4 == 0
    assert int.from_bytes(request[2:4], "big") == len(request) - 20
    assert request[20:].startswith(bytes.fromhex("0006000a") + b"ufrag:bnch")


def test_records_of_a_datagram_are_read_up_to_its_padding() -> None:
    datagram = up(b"one") + up(b"") + up(b"three") + bytes(40)
    found = list(packets.records(datagram))
    assert [record.payload for record in found] == [b"one", b"", b"three"]
    assert {(record.client, record.port, record.ingress) for record in found} == {
        (socket.inet_aton("127.16.0.9"), 5000, 2)
    }


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\xe5",
        bytes(100),
        packets.media(1, 2),
        up(b"", client="[2001:db8::1]:5000"),
        up(b"", return_hop="10.0.0.1:3478"),
    ],
)
def test_what_no_relay_here_sends_has_no_records(datagram: bytes) -> None:
    assert list(packets.records(datagram)) == []
