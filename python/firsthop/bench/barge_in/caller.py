"""A caller with a microphone and an ear on one clock: aiortc, listened to at the packets.

Its jitter buffer is left out: how long a client keeps sound back is the client's own.
"""

from __future__ import annotations

import asyncio
import fractions
import json
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np

from firsthop.bench.barge_in.ear import RATE, Arrival, Samples, first_sound
from firsthop.bench.errors import BenchError

try:
    import av
    from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
    from aiortc.codecs.opus import OpusDecoder
    from aiortc.jitterbuffer import JitterFrame
except ImportError:
    if TYPE_CHECKING:
        raise
    raise BenchError(
        "no caller without aiortc: `pip install 'firsthop[bench]'`, or `make bench`"
    ) from None

_FRAME = RATE // 50
_PATIENCE_S = 10.0


class Microphone(MediaStreamTrack):
    """Captures in real time: a frame is there when its last sample has been."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._words = np.zeros(0, dtype=np.int16)
        self._captured = 0
        self._started = 0.0

    def say(self, words: Samples, pause: int) -> float:
        """Say `words` after `pause` samples; return the moment of their first sound."""
        begin = self._captured + len(self._words) + pause
        quiet = np.zeros(pause, dtype=np.int16)
        self._words = np.concatenate((self._words, quiet, words))
        return self._started + (begin + first_sound(words)) / RATE

    async def recv(self) -> av.AudioFrame:
        """Give aiortc the next 20 ms when they were captured."""
        if not self._started:
            self._started = time.monotonic()
        due = self._started + (self._captured + _FRAME) / RATE
        await asyncio.sleep(due - time.monotonic())
        piece, self._words = self._words[:_FRAME], self._words[_FRAME:]
        piece = np.pad(piece, (0, _FRAME - len(piece)))
        frame = av.AudioFrame.from_ndarray(piece.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = RATE
        frame.pts = self._captured
        frame.time_base = fractions.Fraction(1, RATE)
        self._captured += _FRAME
        return frame


class Caller:
    """One caller. Use it as an asynchronous context manager; leaving hangs up."""

    def __init__(self) -> None:
        self.microphone = Microphone()
        self.events: list[tuple[float, dict[str, Any]]] = []
        """What was told, and when (`time.monotonic`)."""
        self._packets: list[tuple[float, bytes, int]] = []
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._channel = self._connection.createDataChannel("oai-events")
        self._news = asyncio.Event()

    async def __aenter__(self) -> Caller:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    async def call(self, url: str) -> None:
        """Place a call.

        Raises:
            BenchError: It is refused.
        """
        sender = self._connection.addTrack(self.microphone)
        receiver = next(
            one.receiver for one in self._connection.getTransceivers() if one.sender is sender
        )
        self._tap(receiver)
        self._channel.on("message", self._take)
        await self._connection.setLocalDescription(await self._connection.createOffer())
        async with httpx.AsyncClient(trust_env=False, timeout=_PATIENCE_S) as client:
            answer = await client.post(
                f"{url}/v1/realtime/calls",
                content=self._connection.localDescription.sdp,
                headers={"Content-Type": "application/sdp"},
            )
        if answer.status_code != 201:
            raise BenchError(f"the call was refused: {answer.text}")
        await self._connection.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))

    def send(self, event: Mapping[str, object]) -> None:
        """Send an event."""
        self._channel.send(json.dumps(event))

    async def event(self, kind: str, since_s: float) -> float:
        """Wait for the first event of a type after a moment; return when it came.

        Raises:
            BenchError: It does not come.
        """
        found = await self._until(
            lambda: next(
                (at for at, event in self.events if at > since_s and event["type"] == kind), None
            ),
            kind,
        )
        return found

    def arrivals(self) -> list[Arrival]:
        """All packets so far, decoded in the order in which they came."""
        decoder: Any = OpusDecoder()
        decoded = []
        for at_s, payload, timestamp in self._packets:
            frames = decoder.decode(JitterFrame(data=payload, timestamp=timestamp))
            sound = [
                frame.to_ndarray().reshape(-1)[:: len(frame.layout.channels)] for frame in frames
            ]
            decoded.append(Arrival(at_s, np.concatenate(sound).astype(np.int16)))
        return decoded

    async def _until(self, found: Callable[[], float | None], what: str) -> float:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while (at := found()) is None:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise BenchError(f"the caller waited for {what} in vain") from None
        return at

    def _take(self, text: object) -> None:
        self.events.append((time.monotonic(), json.loads(str(text))))
        self._news.set()

    def _tap(self, receiver: Any) -> None:
        """Note each packet before aiortc keeps it back."""
        handle = receiver._handle_rtp_packet

        async def tapped(packet: Any, arrival_time_ms: int) -> None:
            if packet.payload:
                self._packets.append((time.monotonic(), packet.payload, packet.timestamp))
            await handle(packet, arrival_time_ms=arrival_time_ms)

        receiver._handle_rtp_packet = tapped
