"""Many calls over two transceivers behind one relay: each stays with its own."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from e2e import sound
from e2e.peer import Peer
from e2e.processes import Edge, Process
from e2e.sound import RATE
from e2e.waiting import until

CALLS = 20


async def test_twenty_calls_over_two_transceivers_each_reach_their_own(edge: Edge) -> None:
    relay = await edge.relay()
    owners = [
        await edge.transceiver("agents:mirror"),
        await edge.transceiver("agents:other_mirror"),
    ]
    models = ("firsthop-agents:mirror", "firsthop-agents:other_mirror")
    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(Peer()) for _ in range(CALLS)]
        await asyncio.gather(
            *(peer.call(owners[number % 2].url) for number, peer in enumerate(peers))
        )
        for number, peer in enumerate(peers):
            # Every caller has a tone of its own: no other's can be mistaken for it.
            peer.microphone.say(sound.tone(hertz(number), 4))
        await asyncio.gather(*(check_the_echo(peer, hertz(n)) for n, peer in enumerate(peers)))

        for number, peer in enumerate(peers):
            created = await peer.event("session.created")
            assert created["session"]["model"] == models[number % 2]
            mirrored = await peer.round_trip(f"word {number}")
            assert mirrored["pid"] == owners[number % 2].pid
        session_ids = {(await peer.event("session.created"))["session"]["id"] for peer in peers}
        assert len(session_ids) == CALLS

        for owner in owners:
            metrics = await owner.metrics()
            assert metrics("transceiver_sessions") == CALLS // 2
            assert metrics("transceiver_setup_seconds_count") == CALLS // 2
        metrics = await relay.metrics()
        assert metrics("relay_flows") == CALLS
        assert metrics("relay_flows_created_total") == CALLS
        assert metrics("relay_flows_moved_total") == 0
        await check_that_nothing_was_lost_between(relay, owners)
    await check_that_all_is_released(relay, owners)


def hertz(number: int) -> float:
    return 400 + 60 * number


async def check_the_echo(peer: Peer, expected: float) -> None:
    def echoed() -> bool:
        first, last = sound.audible(peer.heard)
        return last - first > 2 * RATE

    await until(echoed, "two seconds of echo", 60)
    first, _ = sound.audible(peer.heard)
    # Past the beginning, which codecs blur.
    piece = peer.heard[first + RATE // 2 : first + RATE * 3 // 2]
    assert abs(sound.loudest_hertz(piece) - expected) < 20


async def check_that_nothing_was_lost_between(relay: Process, owners: list[Process]) -> None:
    """What the relay forwarded, the transceivers received: as many, or the next moment more."""
    forwarded = (await relay.metrics())("relay_ingress_packets_total")
    assert forwarded > CALLS * 50

    async def received() -> bool:
        counts = [(await owner.metrics())("transceiver_ingress_packets_total") for owner in owners]
        return sum(counts) >= forwarded

    await until(received, f"{forwarded} forwarded packets are received")
    metrics = await relay.metrics()
    dropped = metrics.by("reason", "relay_dropped_packets_total")
    # A client's first packets may be ahead of its flow.
    assert set(dropped) <= {"unknown_flow"}, dropped


async def check_that_all_is_released(relay: Process, owners: list[Process]) -> None:
    async def over() -> bool:
        sessions = [(await owner.metrics())("transceiver_sessions") for owner in owners]
        metrics = await relay.metrics()
        released = metrics("relay_flows_released_total") == CALLS
        return sum(sessions) == 0 and metrics("relay_flows") == 0 and released

    await until(over, "every session has ended and every flow is released")
