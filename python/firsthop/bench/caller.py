"""A caller with a microphone and an ear on one clock: aiortc, listened to at the packets.

Its jitter buffer is left out: how long a client keeps sound back is the client's own.
"""

from __future__ import annotations

import asyncio
import fractions
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np

from firsthop.bench.ear import RATE, Arrival, Samples, audible
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

Door = Callable[[str, str], Awaitable[str]]
"""Takes the URL of a server and an offer to it, and returns the answer (SDP)."""


async def realtime(url: str, offer: str) -> str:
    """Place a call by the Realtime API.

    Raises:
        BenchError: It is refused.
    """
    answer = await _post(
        f"{url}/v1/realtime/calls",
        content=offer,
        headers={"Content-Type": "application/sdp"},
    )
    return answer.text


async def pipecat(url: str, offer: str) -> str:
    """Place a call as clients of Pipecat's SmallWebRTC do.

    Raises:
        BenchError: It is refused.
    """
    answer = await _post(f"{url}/api/offer", json={"sdp": offer, "type": "offer"})
    return str(answer.json()["sdp"])


async def _post(url: str, **request: Any) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=_PATIENCE_S) as client:
        answer = await client.post(url, **request)
    if not answer.is_success:
        raise BenchError(f"the call was refused: {answer.text}")
    return answer


@dataclass(frozen=True, slots=True)
class Said:
    """When words are said, by the microphone's clock, in seconds of `time.monotonic`."""

    begin_s: float
    """The first sample that can be heard."""
    end_s: float
    """The last one."""


class Microphone(MediaStreamTrack):
    """Captures in real time: a frame is there when its last sample has been."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._words = np.zeros(0, dtype=np.int16)
        self._captured = 0
        self._started = 0.0

    def say(self, words: Samples, pause: int) -> Said:
        """Say `words` after `pause` samples."""
        begin = self._captured + len(self._words) + pause
        quiet = np.zeros(pause, dtype=np.int16)
        self._words = np.concatenate((self._words, quiet, words))
        first, last = ((begin + sample) / RATE for sample in audible(words))
        return Said(self._started + first, self._started + last)

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
    """One caller. Use it as an asynchronous context manager; leaving hangs up.

    Args:
        door: How it places calls.
    """

    def __init__(self, door: Door = realtime) -> None:
        self._door = door
        self.microphone = Microphone()
        self.events: list[tuple[float, dict[str, Any]]] = []
        """What was told, and when (`time.monotonic`)."""
        self._packets: list[tuple[float, bytes, int]] = []
        self._decoder: Any = OpusDecoder()
        self._decoded: list[Arrival] = []
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
        answer = await self._door(url, self._connection.localDescription.sdp)
        await self._connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def connected(self) -> None:
        """Wait until sound can be sent.

        Raises:
            BenchError: It cannot.
        """
        self._connection.on("connectionstatechange", self._news.set)
        await self._until(
            lambda: time.monotonic() if self._connection.connectionState == "connected" else None,
            "a connection",
        )

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
                (at for at, event in self.events if at > since_s and event.get("type") == kind),
                None,
            ),
            kind,
        )
        return found

    def arrivals(self) -> list[Arrival]:
        """All packets so far, decoded in the order in which they came.

        What is decoded keeps the caller from noticing what arrives meanwhile.
        """
        for at_s, payload, timestamp in self._packets[len(self._decoded) :]:
            frames = self._decoder.decode(JitterFrame(data=payload, timestamp=timestamp))
            sound = [
                frame.to_ndarray().reshape(-1)[:: len(frame.layout.channels)] for frame in frames
            ]
            self._decoded.append(Arrival(at_s, np.concatenate(sound).astype(np.int16)))
        return self._decoded

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
