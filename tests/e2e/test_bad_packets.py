"""Packets that nobody should send: each is dropped and counted, none is answered or logged."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator

import pytest
from aioice import stun

from e2e.network import HOST, LOOPBACK
from e2e.peer import Peer
from e2e.processes import Edge, Process
from e2e.waiting import until

COUNT = 1_000
#: Few enough to fit into the kernel's socket buffer, so that all are seen.
BATCH = 100
ICE_CHARS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def garbage(rng: random.Random) -> bytes:
    return rng.randbytes(rng.randint(1, 1400))


def nothing(rng: random.Random) -> bytes:
    return b""


def huge(rng: random.Random) -> bytes:
    return bytes([rng.randrange(256)]) * rng.choice([1501, 2000, 9000, 65_507])


def hop_magic(rng: random.Random) -> bytes:
    return b"\xe5" + rng.randbytes(rng.randint(0, 120))


def near_hop_header(rng: random.Random) -> bytes:
    """Return a record of the right shape, under a MAC that nobody made."""
    version_and_flags = bytes([0b0010_0000, rng.randrange(4) << 6])
    return b"\xe5" + version_and_flags + b"\x03" + rng.randbytes(20) + rng.randbytes(100)


def truncated_stun(rng: random.Random) -> bytes:
    return binding_request(rng)[: rng.randint(1, 60)]


def forged_binding_request(rng: random.Random) -> bytes:
    return binding_request(rng)


def media_of_no_call(rng: random.Random) -> bytes:
    return bytes([rng.choice([22, 128, 144])]) + rng.randbytes(80)


def binding_request(rng: random.Random) -> bytes:
    request = stun.Message(
        message_method=stun.Method.BINDING,
        message_class=stun.Class.REQUEST,
        transaction_id=rng.randbytes(12),
    )
    ufrag = "".join(rng.choices(ICE_CHARS, k=32))
    request.attributes["USERNAME"] = f"{ufrag}:client"
    request.attributes["PRIORITY"] = 1
    request.attributes["ICE-CONTROLLING"] = rng.getrandbits(64)
    request.add_message_integrity(b"a password that nobody gave")
    return bytes(request)


Maker = Callable[[random.Random], bytes]


@pytest.fixture
def sender() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        yield sender


async def test_a_flood_on_every_port_changes_nothing_but_counters(
    edge: Edge, sender: socket.socket
) -> None:
    relay = await edge.relay()
    transceiver = await edge.transceiver("agents:mirror")
    async with Peer() as peer:
        await peer.call(transceiver.url)
        before = [process.log.stat().st_size for process in (relay, transceiver)]

        public = (HOST, edge.relay_port)
        makers: dict[Maker, set[str]] = {
            garbage: {"unknown_protocol", "unknown_flow", "parking_full", "stun_malformed"},
            nothing: {"empty"},
            huge: {"oversize"},
            hop_magic: {"unknown_protocol"},
            near_hop_header: {"unknown_protocol"},
            truncated_stun: {"stun_malformed"},
            forged_binding_request: {"token_tag", "token_unknown_key", "token_version"},
            media_of_no_call: {"unknown_flow", "parking_full"},
        }
        for maker, reasons in makers.items():
            counted = await flood(sender, public, maker, relay, "relay")
            assert set(counted) <= reasons, f"{maker.__name__}: {counted}"

        upstream = (LOOPBACK, edge.upstream_port)
        for maker in (garbage, huge, hop_magic, near_hop_header):
            counted = await flood(sender, upstream, maker, relay, "relay")
            assert set(counted) == {"source_not_allowed"}, f"{maker.__name__}: {counted}"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as insider:
            # From a port that a transceiver could have, though none does.
            insider.bind((LOOPBACK, edge.first_shard_port + 7))
            insider.setblocking(False)
            for maker in (garbage, huge, hop_magic, near_hop_header):
                counted = await flood(insider, upstream, maker, relay, "relay")
                reasons = {"hop_malformed", "hop_mac", "hop_unknown_key"}
                assert set(counted) <= reasons, f"{maker.__name__}: {counted}"
            assert unanswered(insider)

        shard = (LOOPBACK, edge.first_shard_port)
        for maker in (garbage, huge, hop_magic, near_hop_header, forged_binding_request):
            counted = await flood(sender, shard, maker, transceiver, "transceiver")
            reasons = {"malformed", "not_from_relay", "hop_mac", "hop_unknown_key"}
            assert set(counted) <= reasons, f"{maker.__name__}: {counted}"
        assert unanswered(sender)

        assert [process.log.stat().st_size for process in (relay, transceiver)] == before
        assert (await relay.metrics())("relay_flows") == 1
        await peer.round_trip("the call goes on")
    async with Peer() as another:
        await another.call(transceiver.url)
        await another.round_trip("and another can be placed")


@pytest.mark.parametrize("part", ["relay", "transceiver"])
async def test_empty_datagrams_do_no_harm_inside(
    edge: Edge, sender: socket.socket, part: str
) -> None:
    """They are no packets of anybody: whether they are counted is not promised."""
    process = await edge.dev("agents:mirror")
    port = edge.upstream_port if part == "relay" else edge.first_shard_port
    for _ in range(COUNT):
        sender.sendto(b"", (LOOPBACK, port))
    async with Peer() as peer:
        await peer.call(process.url)
        await peer.round_trip("works")


async def flood(
    sender: socket.socket, to: tuple[str, int], make: Maker, process: Process, part: str
) -> dict[str, int]:
    """Send `COUNT` datagrams, wait until all are counted as dropped; return them by reason."""
    rng = random.Random(make.__name__)
    name = f"{part}_dropped_packets_total"
    before = (await process.metrics()).by("reason", name)
    for start in range(0, COUNT, BATCH):
        for _ in range(BATCH):
            sender.sendto(make(rng), to)
        expected = sum(before.values()) + start + BATCH

        async def counted(expected: int = expected) -> bool:
            return (await process.metrics())(name) >= expected

        await until(counted, f"{make.__name__}: {start + BATCH} are counted by the {part}")
    after = (await process.metrics()).by("reason", name)
    return {
        reason: count - before.get(reason, 0)
        for reason, count in after.items()
        if count > before.get(reason, 0)
    }


def unanswered(sender: socket.socket) -> bool:
    try:
        sender.recv(1)
    except BlockingIOError:
        return True
    return False
