"""`firsthop bench barge-in`: interrupts an agent again and again, and makes rows of it.

Why it is measured as it is: ``docs/benchmarks.md``.
"""

from __future__ import annotations

import asyncio
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import numpy as np

from firsthop.bench import isolation, machine
from firsthop.bench.barge_in.ear import RATE, Arrival, Samples, last_sound_s
from firsthop.bench.contender import READY_SECONDS, free_endpoint
from firsthop.bench.environment import environment
from firsthop.bench.errors import BenchError
from firsthop.bench.report import Report, Row, Target
from firsthop.speech.espeak import Voice

CASE = "An agent that talks is interrupted"
TOLD, SILENT = "speech begins → the client is told", "speech begins → last sound at the client"
_TARGET_MS = 120.0
#: An address that is not loopback's own: clients offer no such candidates.
_HOST = "10.99.0.1"
_PHRASES = (
    "Wait a moment.",
    "Stop, please.",
    "No, not that one.",
    "Excuse me?",
    "Hold on.",
    "Okay.",
)
#: How long after an interruption the agent is listened to.
_LISTEN_S = 1.2
_STOP_SECONDS = 10.0
_SEED = 4


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    interruptions: int


FULL = Scale(interruptions=40)
QUICK = Scale(interruptions=8)


@dataclass(frozen=True, slots=True)
class Interruption:
    """What one of them looked like to the caller, in milliseconds after his first sound."""

    told_ms: float
    silent_ms: float


def steps(scale: Scale) -> int:
    """Return how many times a run reports progress."""
    return scale.interruptions


def run(scale: Scale, folder: Path, progress: Callable[[str], None]) -> Report:
    """Measure everything. `folder` is for files that nobody needs afterwards.

    Raises:
        BenchError: Something that it needs is missing, or does not come up.
    """
    where = isolation.enter()
    host = _host(own_network=not any("loopback" in note for note in where.notes))
    report = Report("barge-in", _about(scale), remarks=list(where.notes))
    with _edge(host, folder) as url:
        found = asyncio.run(_measure(scale, url, progress))
    report.rows = rows(found)
    return report


def rows(found: Sequence[Interruption]) -> list[Row]:
    """Return the rows of what the caller saw."""
    made = []
    for metric, values in (
        (TOLD, [one.told_ms for one in found]),
        (SILENT, [one.silent_ms for one in found]),
    ):
        target = Target("value", _TARGET_MS) if metric == SILENT else None
        usual = Row.of_rounds(CASE, "median", metric, "ms", values)
        high = sorted(values)[min(len(values) - 1, len(values) * 9 // 10)]
        made.append(replace(usual, target=target))
        made.append(Row(CASE, "p90", metric, high, "ms", high, high, target=target))
    return made


def _about(scale: Scale) -> dict[str, str]:
    method = (
        f"{scale.interruptions} interruptions of a humming agent through relay and transceiver on "
        "this machine: short phrases by espeak-ng, at random moments, from an aiortc caller; from "
        "the first audible sample at the microphone to the end of the last audible 5 ms that "
        "arrived. What a client's own jitter buffer adds is not in it"
    )
    return {**machine.about(), "method": method}


async def _measure(scale: Scale, url: str, progress: Callable[[str], None]) -> list[Interruption]:
    from firsthop.bench.barge_in.caller import Caller

    phrases = [await _phrase(text) for text in _PHRASES]
    chance = random.Random(_SEED)
    moments = []
    async with Caller() as caller:
        await caller.call(url)
        await caller.event("output_audio_buffer.started", 0.0)
        turns = {"audio": {"input": {"turn_detection": {"silence_duration_ms": 300}}}}
        caller.send({"type": "session.update", "session": turns})
        for number in range(scale.interruptions):
            # At any place within a packet, and within a window of the detector.
            pause = RATE + chance.randrange(RATE // 2)
            onset_s = caller.microphone.say(phrases[number % len(phrases)], pause)
            told_s = await caller.event("input_audio_buffer.speech_started", onset_s)
            again_s = await caller.event("output_audio_buffer.started", told_s)
            moments.append((onset_s, told_s, min(again_s, told_s + _LISTEN_S)))
            progress(f"interruption {number + 1}")
    # Not before: what is decoded meanwhile keeps the caller from noticing what arrives.
    heard = caller.arrivals()
    return [_seen(heard, *moment) for moment in moments]


def _seen(heard: Sequence[Arrival], onset_s: float, told_s: float, until_s: float) -> Interruption:
    last_s = last_sound_s(heard, onset_s, until_s)
    if last_s is None:
        raise BenchError("the agent was silent before it was interrupted")
    return Interruption((told_s - onset_s) * 1000, (last_s - onset_s) * 1000)


async def _phrase(text: str) -> Samples:
    said = await Voice().speak(text, RATE)
    samples: Samples = np.frombuffer(said, dtype="<i2").astype(np.int16)
    return samples


@contextmanager
def _edge(host: str, folder: Path) -> Iterator[str]:
    """Run `firsthop dev` with the humming agent; yield where its HTTP is."""
    public, upstream, shard, http = (free_endpoint() for _ in range(4))
    cluster = {
        "id": 1,
        "networks": ["127.0.0.1/32"],
        "first_port": shard.port,
        "last_port": shard.port,
    }
    settings: dict[str, object] = {
        "LOG_FORMAT": "json",
        "RELAY__LISTEN": [f"{host}:{public.port}"],
        "RELAY__UPSTREAM": str(upstream),
        "RELAY__WORKERS": "1",
        "RELAY__CLUSTERS": [cluster],
        "TRANSCEIVER__LISTEN": str(shard),
        "TRANSCEIVER__ADVERTISE": [f"{host}:{public.port}"],
        "SIGNALING__LISTEN": str(http),
        "BACKEND": "firsthop.bench.barge_in.talker:talk",
    }
    log = folder / "dev.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", "from firsthop.cli import main; main()", "dev"],
            env=environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_for(process, f"http://{http}/readyz", log)
        yield f"http://{http}"
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    said = log.read_text().strip()[-500:]
    raise BenchError(f"firsthop does not come up. It said: {said or 'nothing'}")


def _host(*, own_network: bool) -> str:
    """An address by which a client reaches this machine."""
    if own_network:
        done = subprocess.run(
            ["ip", "address", "add", f"{_HOST}/32", "dev", "lo"],
            capture_output=True,
            check=False,
        )
        if done.returncode == 0:
            return _HOST
        raise BenchError("`ip address add` failed: install iproute2")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Sends nothing: connecting a UDP socket only asks the routing table.
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
