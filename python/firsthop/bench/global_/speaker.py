"""An agent that speaks without a pause, and tells when it heard what."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Final

from firsthop._native import OpusPacket, encode
from firsthop.backends.function import opus
from firsthop.bench.tone import tone
from firsthop.call import Call, Message, OpusPackets

REPORT: Final = "bench.heard"
"""The type of the event that asks, and of the answer."""
_RATE: Final = 48_000
_BITRATE: Final = 28_000
#: Made so far ahead of what is heard.
_AHEAD_S: Final = 2


@opus
async def speak(call: Call) -> None:
    """Say a tone until the call ends; answer each `REPORT`.

    The answer has ``times_ms``: Unix times of packets that came since the last one, and
    ``missing``: how many did not.
    """
    call.interruptible = False
    second = [
        OpusPacket(payload)
        for payload in encode(
            tone(_RATE, 1), rate=_RATE, bitrate=_BITRATE, complexity=0, packet_ms=20
        )
    ]
    call.forward(_endless(second))
    times_ms: list[float] = []
    missing = 0
    async for event in call:
        if isinstance(event, OpusPackets):
            times_ms += [round(time.time() * 1000, 1)] * len(event.packets)
            missing += sum(packet.missing for packet in event.packets)
        elif isinstance(event, Message) and event.event["type"] == REPORT:
            call.send({"type": REPORT, "times_ms": times_ms, "missing": missing})
            times_ms, missing = [], 0


async def _endless(second: Sequence[OpusPacket]) -> AsyncIterator[Sequence[OpusPacket]]:
    began = time.monotonic()
    made_s = 0
    while True:
        yield second
        made_s += 1
        await asyncio.sleep(began + made_s - _AHEAD_S - time.monotonic())
