"""`firsthop bench barge-in`: interrupts an agent again and again, and makes rows of it.

Why it is measured as it is: ``docs/benchmarks.md``.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from firsthop.bench import isolation, machine, programs
from firsthop.bench.benchmark import Benchmark, Progress
from firsthop.bench.ear import RATE, Arrival, Samples, last_sound_s
from firsthop.bench.errors import BenchError
from firsthop.bench.report import Report, Row, Target
from firsthop.speech.espeak import Voice

CASE = "An agent that talks is interrupted"
TOLD, SILENT = "speech begins → the client is told", "speech begins → last sound at the client"
_TARGET_MS = 120.0
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


def run(scale: Scale, folder: Path, progress: Progress) -> Report:
    """Measure everything. `folder` is for files that nobody needs afterwards.

    Raises:
        BenchError: Something that it needs is missing, or does not come up.
    """
    where = isolation.enter()
    host = programs.client_address(own_network=not any("loopback" in note for note in where.notes))
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


async def _measure(scale: Scale, url: str, progress: Progress) -> list[Interruption]:
    from firsthop.bench.caller import Caller

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
            onset_s = caller.microphone.say(phrases[number % len(phrases)], pause).begin_s
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
    settings, url = programs.edge(host, backend="firsthop.bench.barge_in.talker:talk")
    edge = programs.firsthop("dev", settings, folder)
    try:
        edge.wait_until_ready(f"{url}/readyz")
        yield url
    finally:
        edge.stop()


BENCHMARK: Final = Benchmark(
    title="How soon the agent is silent once the caller speaks",
    full=FULL,
    quick=QUICK,
    steps=steps,
    run=run,
)
