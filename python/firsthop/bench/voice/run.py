"""`firsthop bench turn`: asks the same question again and again, and makes rows of the answers.

Why it is measured as it is: ``docs/benchmarks.md``.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
import numpy as np

from firsthop.bench import isolation, machine, programs
from firsthop.bench.benchmark import Progress
from firsthop.bench.ear import RATE, Samples, first_sound_s, last_sound_s
from firsthop.bench.endpoints import Answer
from firsthop.bench.errors import BenchError, SkippedError
from firsthop.bench.report import Report, Row, Target
from firsthop.bench.voice import contenders, moments
from firsthop.bench.voice.contenders import Chain, Maker
from firsthop.bench.voice.moments import STAGES, Log, Moments
from firsthop.speech.espeak import Voice

CASE: Final = "A question is answered"
TOTAL, OWN, CPU = "in all", "the chain's own share", "CPU per second of call"
METRICS: Final = (*STAGES, TOTAL, OWN)
FIGURES: Final = ("median", "p90", "p95", "max")
_TARGET_MS: Final = 60.0

_QUESTION: Final = "What time is it?"
_REPLY: Final = "It is half past three. All right?"
#: Of the endpoints, in ms and, for the spread, as `Delay` has it.
_DELAYS: Final = {
    "spread": 0.3,
    "transcript_ms": 150,
    "first_token_ms": 250,
    "next_token_ms": 20,
    "first_audio_ms": 150,
}
_MAKERS: Final[tuple[Maker, ...]] = (
    contenders.firsthop,
    contenders.offline,
    contenders.pipecat,
    contenders.pipecat_early,
)
#: An answer is over when it has not been heard for so long.
_OVER_S: Final = 0.6
#: Turns of a contender that may fail: more are no accident.
_MAX_FAILURES: Final = 3
#: How long a caller waits for the first sound, and for the last.
_PATIENCE_S: Final = 12.0
_GLANCE_S: Final = 0.05
_SEED: Final = 5


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    calls: int
    """Of each contender, in turns."""
    turns: int
    """Of each call that count, after one to warm up."""


FULL: Final = Scale(calls=4, turns=5)
QUICK: Final = Scale(calls=1, turns=5)


@dataclass(frozen=True, slots=True)
class Turn:
    """What was seen of one turn."""

    moments: Moments
    own_ms: float | None
    """The chain's own share; None where no endpoint is at work."""


@dataclass
class Found:
    """What was seen of one contender."""

    turns: list[Turn] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    """Per second, of each call."""
    failures: list[str] = field(default_factory=list)
    """What became of turns that were not answered."""


def steps(scale: Scale) -> int:
    """Return how many times a run reports progress."""
    return len(_MAKERS) * scale.calls * (scale.turns + 1)


def run(scale: Scale, folder: Path, progress: Progress) -> Report:
    """Measure everything. `folder` is for files that nobody needs afterwards.

    Raises:
        BenchError: Something that it needs is missing, or does not come up.
    """
    where = isolation.enter()
    host = programs.client_address(own_network=not any("loopback" in note for note in where.notes))
    report = Report("turn", _about(scale), remarks=[n for n in where.notes if "loopback" in n])
    script = {**_DELAYS, "transcript": _QUESTION, "reply": _REPLY}
    with ExitStack() as running, contenders.endpoints(script, folder) as url:
        chains = []
        for make in _MAKERS:
            try:
                chains.append(make(host, url, folder, running))
            except SkippedError as reason:
                report.remarks.append(str(reason))
        question = asyncio.run(_question())
        if where.realtime:
            # Last, for what is started from here on would have it too.
            isolation.set_realtime(os.getpid(), on=True)
        found = asyncio.run(_measure(scale, chains, question, url, progress))
    report.rows = list(rows(found))
    for name, seen in found.items():
        if seen.failures:
            report.remarks.append(
                f"{name}: {len(seen.failures)} turns failed, and do not count: {seen.failures[0]}"
            )
    return report


def rows(found: dict[str, Found]) -> Iterable[Row]:
    """Yield the rows of what was seen, by contender."""
    for metric in METRICS:
        for name, seen in found.items():
            values = _values(metric, seen.turns)
            if values:
                yield from _of(metric, name, values)
    for name, seen in found.items():
        yield Row.of_rounds(CASE, name, CPU, "ms/s", seen.cpu_ms)


def named(metric: str, figure: str) -> str:
    """What a row is called that has one figure of a metric."""
    return f"{metric}, {figure}"


def _of(metric: str, name: str, values: list[float]) -> Iterable[Row]:
    ranked = sorted(values)
    bound = metric == OWN and name == contenders.FIRSTHOP
    for figure, part in zip(FIGURES, (0.5, 0.9, 0.95, 1.0), strict=True):
        value = ranked[max(0, math.ceil(part * len(ranked)) - 1)]
        target = Target("value", _TARGET_MS) if bound and figure == "p95" else None
        low, high = ranked[0], ranked[-1]
        yield Row(CASE, name, named(metric, figure), value, "ms", low, high, target=target)


def _values(metric: str, turns: Sequence[Turn]) -> list[float]:
    if metric == TOTAL:
        return [turn.moments.total_ms for turn in turns]
    if metric == OWN:
        return [turn.own_ms for turn in turns if turn.own_ms is not None]
    stage = STAGES.index(metric)
    return [turn.moments.stages_ms[stage] for turn in turns]


def _about(scale: Scale) -> dict[str, str]:
    delays = ", ".join(f"{name.removesuffix('_ms')} {value}" for name, value in _DELAYS.items())
    method = (
        f"{scale.calls * scale.turns} turns each, in {scale.calls} calls in turns, after one per "
        f"call to warm up; {contenders.SILENCE_S * 1000:g} ms of silence end a turn; from the last "
        "audible sample at the microphone of an aiortc caller to the first packet with sound, "
        "which no jitter buffer keeps back"
    )
    return {**machine.about(), "endpoints": f"medians in ms: {delays}", "method": method}


async def _measure(
    scale: Scale,
    chains: Sequence[Chain],
    question: Samples,
    url: str,
    progress: Progress,
) -> dict[str, Found]:
    found: dict[str, Found] = {chain.name: Found() for chain in chains}
    order = random.Random(_SEED)
    for number in range(scale.calls):
        for chain in order.sample(chains, len(chains)):
            first = number * scale.turns
            talk = _Talk(chain, question, url)
            seeds = [0, *range(first + 1, first + 1 + scale.turns)]
            await talk.through(seeds, found[chain.name], progress)
    return found


async def _question() -> Samples:
    said = await Voice().speak(_QUESTION, RATE)
    samples: Samples = np.frombuffer(said, dtype="<i2").astype(np.int16)
    return samples


class _Talk:
    """One call of one contender."""

    def __init__(self, chain: Chain, question: Samples, url: str) -> None:
        from firsthop.bench import caller

        self._chain = chain
        self._question = question
        self._url = url
        self._caller = caller.Caller(getattr(caller, chain.door))

    async def through(self, seeds: Sequence[int], found: Found, progress: Progress) -> None:
        """Ask once for each seed; the first time is to warm up, and does not count."""
        async with self._caller as caller, httpx.AsyncClient(trust_env=False) as client:
            await caller.call(self._chain.url)
            await caller.connected()
            clock = asyncio.get_running_loop().time
            for number, seed in enumerate(seeds):
                await client.get(f"{self._url}/seeds/{seed}")
                if number == 1:
                    began, cpu = clock(), self._chain.cpu_s()
                try:
                    turn = await self._turn(seed, client)
                    if number:
                        found.turns.append(turn)
                except BenchError as error:
                    found.failures.append(str(error))
                    if len(found.failures) > _MAX_FAILURES:
                        raise
                progress(f"{self._chain.name}, turn {number}")
            found.cpu_ms.append((self._chain.cpu_s() - cpu) / (clock() - began) * 1000)

    async def _turn(self, seed: int, client: httpx.AsyncClient) -> Turn:
        # At any place within a packet, and within a window of the detector: the same for all.
        pause = RATE // 2 + random.Random(seed).randrange(RATE // 4)
        end_s = self._caller.microphone.say(self._question, pause).end_s
        heard_s = await self._answered(end_s)
        if not self._chain.scripted:
            return Turn(moments.of_agent(self._chain.times(end_s), end_s, heard_s), None)
        answers = [Answer(**each) for each in (await client.get(f"{self._url}/delays")).json()]
        log = Log.of(answers, _REPLY)
        own_ms = log.own_ms(end_s, heard_s, contenders.SILENCE_S)
        return Turn(log.moments(end_s, heard_s), own_ms)

    async def _answered(self, end_s: float) -> float:
        """Wait until all of the answer is heard; return when its first packet came."""
        clock = asyncio.get_running_loop().time
        first_s = last_s = None
        looked = len(self._caller.arrivals())
        while clock() < end_s + _PATIENCE_S:
            await asyncio.sleep(_GLANCE_S)
            # No more than is new: whoever looks at much notices late what comes meanwhile.
            arrivals = self._caller.arrivals()[looked:]
            looked += len(arrivals)
            first_s = first_s or first_sound_s(arrivals, end_s)
            if first_s is not None:
                last_s = last_sound_s(arrivals, first_s, math.inf) or last_s
                if last_s is not None and clock() > last_s + _OVER_S:
                    return first_s
        what = "no sound came" if first_s is None else "the answer did not end"
        raise BenchError(f"{what} within {_PATIENCE_S:g} s")
