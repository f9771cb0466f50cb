"""Fifty calls whose sound goes on, whatever one of their neighbours does, or has done to it."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import numpy as np

from e2e import http
from e2e.network import HOST
from e2e.peer import Peer
from e2e.processes import Edge, Process
from e2e.waiting import DEADLINE_S, until
from firsthop._native import Callers

CALLS = 50
#: What each of them hears while nothing happens, and again while something does: 3 s.
PACKETS = 150
#: Packets of a flood, as fast as a thread of Python sends them: some tens of thousands per second.
FLOOD = 40_000
_HTTP_AT_ONCE = 10
#: 20 ms of it, as Opus.
SILENCE = b"\xf8\xff\xfe"

Maker = Callable[[random.Random, Peer], bytes]


def rtp_of_a_stream(rng: random.Random, peer: Peer) -> bytes:
    """Sound of the caller's, to look at."""
    ssrc = peer.connection.getSenders()[0]._ssrc
    return b"\x80\x6f" + rng.randbytes(6) + ssrc.to_bytes(4, "big") + rng.randbytes(60)


def rtp_of_new_streams(rng: random.Random, peer: Peer) -> bytes:
    """Sound that says it is the caller's on another stream (RFC 8843 §15: the m-line's id)."""
    return b"\x90\x6f" + rng.randbytes(10) + b"\xbe\xde\0\x01\x400\0\0" + rng.randbytes(60)


def stun(rng: random.Random, peer: Peer) -> bytes:
    """Checks that name the session, under a password that nobody gave."""
    username = f"{peer.answer.split('a=ice-ufrag:')[1][:32]}:abcd".encode()
    padded = username + bytes(-len(username) % 4)
    attributes = b"\0\x06" + len(username).to_bytes(2, "big") + padded
    attributes += b"\0\x08\0\x14" + rng.randbytes(20)
    return (
        b"\0\x01"
        + len(attributes).to_bytes(2, "big")
        + b"\x21\x12\xa4\x42"
        + rng.randbytes(12)
        + attributes
    )


def dtls(rng: random.Random, peer: Peer) -> bytes:
    """Records of any type, as long as they say."""
    kind = rng.choice(b"\x14\x15\x16\x17\x1a").to_bytes(1, "big")
    return kind + b"\xfe\xfd\0" + rng.randbytes(7) + b"\0\x64" + rng.randbytes(100)


async def test_fifty_calls_keep_their_sound_while_one_is_flooded(edge: Edge, peer: Peer) -> None:
    process = await edge.dev("agents:sleeper", transceiver__shards=1)
    async with calls(process) as crowd:
        await peer.call(process.url)
        before = await heard(crowd)
        rng = random.Random(1)
        kinds = [maker(rng, peer) for maker in (rtp_of_a_stream, rtp_of_new_streams, stun, dtls)]
        kinds += [rng.randbytes(rng.randint(20, 1200)) for _ in range(4)]

        def flood() -> None:
            with socket_of(peer) as sender:
                sender.setblocking(True)
                for number in range(FLOOD):
                    sender.sendto(kinds[number % len(kinds)], (HOST, edge.relay_port))

        flooding = asyncio.create_task(asyncio.to_thread(flood))
        during = await heard(crowd, flooding)
        check_that_they_heard_as_before(during, before)
        # The one that it was about has its call still, and is heard.
        await until(lambda: peer.state == "connected", "it is connected")
        peer.send({"type": "test.sleep"})
        await peer.event("test.slept")
        dropped = (await process.metrics()).by("reason", "transceiver_dropped_packets_total")
        assert dropped["too_many"] > 0


async def test_fifty_calls_keep_their_sound_while_one_floods_its_data_channel(edge: Edge) -> None:
    process = await edge.dev("agents:sleeper", transceiver__shards=1)
    async with calls(process) as crowd, calls(process, 1) as loud:
        before = await heard(crowd)
        [caller] = loud.callers()

        def flood() -> None:
            for _ in range(200):
                for _ in range(50):
                    loud.send(caller, '{"type": "test.flood"}' + " " * 500)
                # Pacing: what does not fit into its buffer is not sent at all.
                time.sleep(0.01)

        flooding = asyncio.create_task(asyncio.to_thread(flood))
        during = await heard(crowd, flooding)
        check_that_they_heard_as_before(during, before)
        assert loud.call(caller).state == "connected"
        assert loud.totals()["sent_bytes"] > 1_000_000


async def test_fifty_calls_keep_their_sound_while_python_stands_still(edge: Edge) -> None:
    process = await edge.dev("agents:sleeper", transceiver__shards=1)
    async with calls(process) as crowd:
        before = await heard(crowd)

        async def hold_up() -> None:
            one = crowd.callers()[0]
            answers = crowd.call(one).messages
            for number in range(1, 5):
                crowd.send(one, '{"type": "test.sleep"}')
                slept = partial(has_answers, crowd, one, answers + number)
                await until(slept, f"it has slept {number} times")

        during = await heard(crowd, asyncio.create_task(hold_up()))
        check_that_they_heard_as_before(during, before)


def has_answers(crowd: Callers, caller: int, count: int) -> bool:
    return crowd.call(caller).messages >= count


Heard = dict[str, int]


async def heard(crowd: Callers, meanwhile: Awaitable[None] | None = None) -> Heard:
    """Let everybody hear something, and until `meanwhile` is done; return what came, and when."""
    crowd.measure()
    least = CALLS * PACKETS
    await until(lambda: crowd.totals()["received"] >= least, f"{least} packets are heard")
    if meanwhile is not None:
        await meanwhile
    gaps = np.cumsum(crowd.gaps())
    # In quarters of milliseconds; the bins of the longest that 99.9 % have.
    longest = int(np.searchsorted(gaps, 0.999 * gaps[-1]))
    return {**crowd.totals(), "longest": longest}


def check_that_they_heard_as_before(during: Heard, before: Heard) -> None:
    """Assert that nothing was lost, and that no pause was long beside those of before."""
    assert during["lost"] == during["failed"] == during["closed"] == 0
    assert during["connected"] == CALLS
    # Two packets' worth is no pause beside what else runs on this machine.
    assert during["longest"] <= 3 * max(before["longest"], 160), "in quarters of milliseconds"


@asynccontextmanager
async def calls(process: Process, count: int = CALLS) -> AsyncIterator[Callers]:
    """Place so many calls of listeners, and wait until all of them hear."""
    crowd = Callers(local=HOST, threads=1, sound=[SILENCE], marks=[], channel="oai-events")
    few = asyncio.Semaphore(_HTTP_AT_ONCE)
    headers = {"Content-Type": "application/sdp"}
    async with http.client(base_url=process.url, timeout=DEADLINE_S) as client:

        async def place() -> None:
            async with few:
                caller, offer = crowd.offer(talks=False)
                placed = await client.post("/v1/realtime/calls", content=offer, headers=headers)
                assert placed.status_code == 201, placed.text
                crowd.answer(caller, placed.text)

        try:
            await asyncio.gather(*(place() for _ in range(count)))

            def all_hear() -> bool:
                stages = [crowd.call(caller).stages_ms for caller in crowd.callers()]
                return all({"audio", "channel"} <= stage.keys() for stage in stages)

            await until(all_hear, f"{count} callers hear something")
            yield crowd
        finally:
            crowd.stop()


def socket_of(peer: Peer) -> socket.socket:
    """Another handle of the socket that a caller calls from."""
    ice: Any = peer.connection.getSenders()[0].transport.transport._connection
    own: socket.socket = ice._nominated[1].protocol.transport.get_extra_info("socket")
    return own.dup()
