"""TURN, as far as the benchmark speaks it; aioice is the other opinion."""

from __future__ import annotations

import pytest
from aioice import stun

from firsthop.bench import turn
from firsthop.bench.datagrams import Endpoint
from firsthop.bench.errors import BenchError

TRANSACTION = bytes(range(12))
PEER = Endpoint.parse("127.0.0.1:22000")


def test_an_allocate_request_asks_for_udp() -> None:
    message = stun.parse_message(turn.allocate_request(TRANSACTION))
    assert message.message_method == stun.Method.ALLOCATE
    assert message.message_class == stun.Class.REQUEST
    assert message.transaction_id == TRANSACTION
    assert message.attributes["REQUESTED-TRANSPORT"] == 17 << 24
    assert message.attributes["LIFETIME"] == 3600


def test_a_channel_bind_request_names_channel_and_peer() -> None:
    message = stun.parse_message(turn.channel_bind_request(TRANSACTION, PEER))
    assert message.message_method == stun.Method.CHANNEL_BIND
    assert message.attributes["CHANNEL-NUMBER"] == turn.CHANNEL
    assert message.attributes["XOR-PEER-ADDRESS"] == ("127.0.0.1", 22000)


def response(message_class: stun.Class, **attributes: object) -> bytes:
    message = stun.Message(
        message_method=stun.Method.ALLOCATE,
        message_class=message_class,
        transaction_id=TRANSACTION,
    )
    message.attributes["SOFTWARE"] = "x"
    for name, value in attributes.items():
        message.attributes[name.replace("_", "-")] = value
    return bytes(message)


def test_an_answer_tells_the_relayed_address() -> None:
    relayed = ("192.0.2.7", 49_152)
    answer = turn.parse(response(stun.Class.RESPONSE, XOR_RELAYED_ADDRESS=relayed))
    assert answer.success
    assert answer.transaction == TRANSACTION
    assert str(answer.relayed()) == "192.0.2.7:49152"


def test_an_error_is_no_success() -> None:
    answer = turn.parse(response(stun.Class.ERROR, ERROR_CODE=(437, "Allocation Mismatch")))
    assert not answer.success
    with pytest.raises(BenchError, match="allocated no address"):
        answer.relayed()


def test_channel_data_is_the_packet_behind_number_and_length() -> None:
    assert turn.channel_data(b"abc") == b"\x40\x00\x00\x03abc"


@pytest.mark.parametrize("garbage", [b"", b"short", bytes(20), response(stun.Class.RESPONSE)[:-1]])
def test_what_is_not_stun_is_an_error(garbage: bytes) -> None:
    with pytest.raises(BenchError, match="TURN server answered"):
        turn.parse(garbage)
