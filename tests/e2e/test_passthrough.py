"""Opus as it is, end to end: a client gets back the very packets that it sent."""

from __future__ import annotations

import asyncio
import fractions
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import av
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from e2e import sound
from e2e.peer import Peer
from e2e.processes import Edge
from e2e.sound import RATE, Samples
from e2e.waiting import until

#: 20 ms of silence.
SILENCE = b"\xf8\xff\xfe"
_TICK = RATE // 50


class Sender(MediaStreamTrack):
    """Sends packets that are made already, and silence in between, in real time."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[bytes] = []
        self._sent = 0
        self._started = 0.0

    async def recv(self) -> av.Packet[Any]:
        """Give aiortc the next packet when it is due."""
        if self.readyState != "live":
            raise MediaStreamError
        self._started = self._started or time.monotonic()
        # Pacing, not synchronisation.
        await asyncio.sleep(self._started + self._sent * 0.02 - time.monotonic())
        packet = av.Packet(self.waiting.pop(0) if self.waiting else SILENCE)
        packet.pts = self._sent * _TICK
        packet.time_base = fractions.Fraction(1, RATE)
        self._sent += 1
        return packet


def encode(samples: Samples) -> list[bytes]:
    """Return `samples` as Opus packets of 20 ms."""
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = RATE, "mono", "s16"
    encoder.open()
    packets: list[bytes] = []
    for start in range(0, len(samples) - _TICK + 1, _TICK):
        piece = samples[start : start + _TICK].reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
        frame.sample_rate, frame.pts = RATE, start
        packets += map(bytes, encoder.encode(frame))
    return packets


def tap(peer: Peer) -> list[bytes]:
    """Return the payloads that `peer` gets, in the order in which they come, as they come."""
    payloads: list[bytes] = []
    receiver: Any = peer.connection.getReceivers()[0]
    handle: Callable[..., Awaitable[None]] = receiver._handle_rtp_packet

    async def tapped(packet: Any, arrival_time_ms: int) -> None:
        payloads.append(packet.payload)
        await handle(packet, arrival_time_ms=arrival_time_ms)

    receiver._handle_rtp_packet = tapped
    return payloads


def find(needle: Sequence[bytes], haystack: Sequence[bytes]) -> int | None:
    """Return where the whole of `needle` stands in `haystack`."""
    places = range(len(haystack) - len(needle) + 1)
    return next((n for n in places if haystack[n : n + len(needle)] == needle), None)


async def test_a_client_gets_back_the_very_packets_that_it_sent(edge: Edge, peer: Peer) -> None:
    process = await edge.dev("mirror")
    sender = Sender()
    peer.connection.getSenders()[0].replaceTrack(sender)
    await peer.call(process.url)
    payloads = tap(peer)
    said = sound.speech(sound.SENTENCE)
    packets = encode(said)
    sender.waiting += packets

    await until(lambda: find(packets, payloads) is not None, "the packets, whole and in order")
    # It hears its own voice: aiortc's jitter buffer gives out what has come when more comes.
    await until(lambda: len(peer.heard) > len(said) + RATE // 2, "all of its own voice")
    sound.check_words(peer.heard, said, sound.speech(sound.OTHER_SENTENCE))
    dropped = (await process.metrics()).by("reason", "transceiver_dropped_packets_total")
    assert "malformed" not in dropped
