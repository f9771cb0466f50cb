"""A caller whose packets leave when a trace says that they arrive: the network is in the sender.

What connects the call (ICE, DTLS, RTCP) passes unharmed, so that the same packets of speech are
lost and late for every listener, and nothing else.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from firsthop.bench.errors import BenchError
from firsthop.bench.quality.listeners import Listener
from firsthop.bench.quality.trace import PACKET_S, Trace

try:
    from aiortc import (
        RTCConfiguration,
        RTCPeerConnection,
        RTCRtpSender,
        RTCSessionDescription,
    )
    from aiortc.rtp import HeaderExtensionsMap, RtpPacket
except ImportError:
    if TYPE_CHECKING:
        raise
    raise BenchError(
        "no caller without aiortc: `pip install 'firsthop[bench]'`, or `make bench`"
    ) from None

#: In RTP's clock (RFC 7587 §4.1).
_PACKET_TICKS: Final = 960
_FIRST_SEQUENCE: Final = 1000
#: Before a packet is due, the event loop's timer, which rounds up, gives way to the system's.
_PRECISE_S: Final = 0.002
_PATIENCE_S: Final = 10.0
#: To get ready in.
_AHEAD_S: Final = 0.1


class Sender:
    """One call to one listener. Use it as an asynchronous context manager; leaving hangs up."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.call = ""
        """What the listener calls it."""
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        transceiver = self._connection.addTransceiver("audio", direction="sendrecv")
        codecs = RTCRtpSender.getCapabilities("audio").codecs
        transceiver.setCodecPreferences([one for one in codecs if one.mimeType == "audio/opus"])
        self._sender: Any = transceiver.sender
        self._payload_type = 0
        # No extensions: the SSRC, which the offer names, is enough to know the stream by.
        self._extensions = HeaderExtensionsMap()

    async def __aenter__(self) -> Sender:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.hang_up()

    async def hang_up(self) -> None:
        """End the call."""
        await self._connection.close()

    async def place(self) -> None:
        """Place the call, and wait until sound can be sent.

        Raises:
            BenchError: It cannot.
        """
        # Firsthop's calls have a data channel.
        self._connection.createDataChannel("oai-events")
        connected = asyncio.Event()

        def changed() -> None:
            if self._connection.connectionState == "connected":
                connected.set()

        self._connection.on("connectionstatechange", changed)
        await self._connection.setLocalDescription(await self._connection.createOffer())
        offer = self._connection.localDescription.sdp
        self._payload_type = _payload_type(offer)
        answer, self.call = await self.listener.answer(offer)
        await self._connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        try:
            await asyncio.wait_for(connected.wait(), _PATIENCE_S)
        except TimeoutError:
            raise BenchError(f"{self.listener.name} does not connect") from None

    async def send(self, number: int, payload: bytes) -> None:
        """Send a packet of Opus, the `number`-th of the call whenever it leaves.

        Raises:
            BenchError: The listener has hung up.
        """
        packet = RtpPacket(
            payload_type=self._payload_type,
            marker=int(number == 0),
            sequence_number=_FIRST_SEQUENCE + number,
            timestamp=number * _PACKET_TICKS,
            ssrc=self._sender._ssrc,
            payload=payload,
        )
        try:
            await self._sender.transport._send_rtp(packet.serialize(self._extensions))
        except ConnectionError:
            raise BenchError(f"{self.listener.name} has ended a call") from None


@dataclass
class Playing:
    """A programme on its way in one call."""

    sender: Sender
    trace: Trace
    began_s: float = 0.0
    """When its first packet was sent, by `time.monotonic`."""


async def play(calls: Sequence[Playing], payloads: Sequence[bytes]) -> float:
    """Send the packets of one programme in several calls, each as its trace has it.

    The calls begin one after the other within the duration of a packet, so that theirs do not all
    come at once.

    Returns:
        How late the latest packet left, in seconds.
    """
    start_s = time.monotonic() + _AHEAD_S
    for number, call in enumerate(calls):
        call.began_s = start_s + number / len(calls) * PACKET_S
    due = heapq.merge(
        *(
            [(call.began_s + one.at_s, number, one.packet) for one in call.trace.arrivals]
            for number, call in enumerate(calls)
        )
    )
    latest_s = 0.0
    for at_s, number, packet in due:
        latest_s = max(latest_s, await _until(at_s))
        await calls[number].sender.send(packet, payloads[packet])
    return latest_s


async def _until(at_s: float) -> float:
    """Wait for a moment; return how much later it is."""
    early_s = at_s - time.monotonic()
    if early_s > _PRECISE_S:
        await asyncio.sleep(early_s - _PRECISE_S)
    early_s = at_s - time.monotonic()
    if early_s > 0:
        # The rest of 2 ms at most, in which nothing else in this process is due.
        time.sleep(early_s)  # noqa: ASYNC251
    return time.monotonic() - at_s


def _payload_type(sdp: str) -> int:
    for line in sdp.splitlines():
        if line.startswith("a=rtpmap:") and "opus/48000" in line:
            return int(line.removeprefix("a=rtpmap:").split()[0])
    raise BenchError("aiortc offers no Opus")
