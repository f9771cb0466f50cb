"""Engines in this process that send back what callers say."""

from __future__ import annotations

import socket
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from math import sin, tau

from firsthop._native import Event, encode
from firsthop.config import Settings, TransceiverSettings
from firsthop.transceiver.engine import EngineLoop

RATE = 16_000


def tone(ms: int, hertz: int, amplitude: int) -> array[int]:
    samples = range(RATE * ms // 1000)
    return array("h", (round(amplitude * sin(tau * hertz * n / RATE)) for n in samples))


def opus(*parts: array[int]) -> list[bytes]:
    pcm = b"".join(part.tobytes() for part in parts)
    return encode(pcm, rate=RATE, bitrate=24_000, complexity=0, packet_ms=20)


#: 600 ms with a mark in packet 10.
SOUND = opus(tone(200, 0, 0), tone(60, 1500, 16_384), tone(140, 0, 0), tone(200, 440, 8_000))


class Echo:
    """Answers offers, and sends back what callers say, packet by packet."""

    def __init__(self, settings: Settings) -> None:
        self.loop = EngineLoop(settings)
        self.sessions: list[int] = []
        self.closed: list[str] = []

    def answer(self, offer: str) -> str:
        session, answer = self.loop.accept(offer, self._hear, None)
        self.sessions.append(session)
        return answer

    def send(self, text: str) -> None:
        """Send to every caller."""
        for session in self.sessions:
            self.loop.engine.send(session, text)

    def _hear(self, event: Event) -> None:
        match event:
            case Event.Opus(session, packets):
                self.loop.engine.play_opus(session, 1, packets, complete=False)
            case Event.Message(session, text):
                self.loop.engine.send(session, text)
            case Event.Closed(_, reason):
                self.closed.append(reason)


@contextmanager
def echoing() -> Iterator[Echo]:
    """Run one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    transceiver = TransceiverSettings(listen=address, advertise=(address,), direct=True)
    echo = Echo(Settings(keys={0: "ab" * 32}, transceiver=transceiver))
    echo.loop.start()
    yield echo
    echo.loop.stop()
