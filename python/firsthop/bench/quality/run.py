"""`firsthop bench quality`: has listeners hear the same speech by the same networks, in rows.

Why it is measured as it is: ``docs/benchmarks.md``.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Final

import numpy as np

from firsthop.bench import isolation, machine, programs
from firsthop.bench.errors import SkippedError
from firsthop.bench.quality import chromium, listeners, packets, speech
from firsthop.bench.quality.cases import CLEAN, TARGET, Case, Scale
from firsthop.bench.quality.chromium import CHROMIUM
from firsthop.bench.quality.judge import Judgement, judge
from firsthop.bench.quality.listeners import FIRSTHOP, Listener
from firsthop.bench.quality.sender import Playing, Sender, play
from firsthop.bench.quality.trace import trace
from firsthop.bench.report import Report, Row, Target

MOS, DELAY, DELAY_P95 = "MOS", "added delay, median", "added delay, p95"
UNHEARD, CONCEALED, DRIFT = "unheard", "concealed", "drift"

_MOST_BELOW_CHROMIUM: Final = 0.2
_MOST_ON_A_CLEAN_PATH_MS: Final = 25.0
#: Later than this, the sender itself is part of what is measured.
_LATE_S: Final = 0.005
#: How long after the last packet listeners may still have something to tell.
_REST_S: Final = 1.0

_MAKERS: Final[Sequence[Callable[[str, Path], AbstractAsyncContextManager[Listener]]]] = (
    listeners.firsthop,
    listeners.aiortc,
    chromium.chromium,
)

Found = Mapping[tuple[Case, str], Sequence[Judgement]]
"""What became of each call, by case and listener."""


@dataclass(frozen=True)
class _Round:
    """What is played at the same time."""

    number: int
    traces: Sequence[tuple[Case, int]]
    """Networks, each with the seed of its chances."""


def steps(scale: Scale) -> int:
    """Return how many times a run reports progress."""
    return len(_rounds(scale)) + 1


def run(scale: Scale, folder: Path, progress: Callable[[str], None]) -> Report:
    """Measure everything. `folder` is for files that nobody needs afterwards.

    Raises:
        BenchError: Something that it needs is missing, or does not come up.
    """
    where = isolation.enter()
    host = programs.client_address(own_network=not any("loopback" in note for note in where.notes))
    report = Report("quality", _about(scale), remarks=[n for n in where.notes if "loopback" in n])
    bench = _Bench(scale, report.remarks, progress, realtime=where.realtime)
    report.rows = list(rows(asyncio.run(bench.measure(host, folder))))
    return report


def rows(found: Found) -> Iterator[Row]:
    """Yield the rows of what became of all calls."""
    for (case, listener), calls in found.items():
        for row in _of(case, listener, calls):
            yield replace(row, target=_target(case, row, found)) if listener == FIRSTHOP else row


def _of(case: Case, listener: str, calls: Sequence[Judgement]) -> Iterator[Row]:
    def row(metric: str, value: float, unit: str, each: Sequence[float]) -> Row:
        return Row(case.name, listener, metric, value, unit, min(each), max(each))

    mos = [value for call in calls for value in call.mos]
    yield row(MOS, fmean(mos), "", mos)
    delays = [call.delays_ms for call in calls if call.delays_ms]
    if delays:
        for metric, percent in ((DELAY, 50), (DELAY_P95, 95)):
            each = [float(np.percentile(one, percent)) for one in delays]
            yield row(metric, float(np.percentile(np.concatenate(delays), percent)), "ms", each)
    unheard = [100 * call.unheard for call in calls]
    yield row(UNHEARD, fmean(unheard), "%", unheard)
    concealed = [100 * call.concealed for call in calls if call.concealed is not None]
    if concealed:
        yield row(CONCEALED, fmean(concealed), "%", concealed)
    drifts = [call.drift_ms for call in calls]
    yield row(DRIFT, median(drifts), "ms", drifts)


def _target(case: Case, row: Row, found: Found) -> Target | None:
    if case == CLEAN and row.metric == DELAY_P95:
        return Target("value", _MOST_ON_A_CLEAN_PATH_MS)
    theirs = found.get((TARGET, CHROMIUM))
    if case != TARGET or not theirs:
        return None
    reference = {row.metric: row.value for row in _of(TARGET, CHROMIUM, theirs)}
    match row.metric:
        case "MOS":
            return Target("value", round(reference[MOS] - _MOST_BELOW_CHROMIUM, 2), at_least=True)
        case "added delay, median" if DELAY in reference:
            return Target("value", round(reference[DELAY]))
    return None


def _about(scale: Scale) -> dict[str, str]:
    method = (
        f"{scale.clips} clips by espeak-ng in as many voices, {scale.traces} traces of each "
        f"network, the same for all; Opus, 20 ms, {packets.BITRATE // 1000} kbit/s, mono, in-band "
        f"FEC for {packets.EXPECTED_LOSS_PERCENT} % loss; MOS by PESQ (ITU-T P.862.2, wide-band), "
        "mean over clips; added delay: from when a packet was sent to when its sound was there to "
        "be used, less the mean delay of the path; jitter is exponentially distributed, with this "
        "mean, and keeps the order"
    )
    return {**machine.about(), "method": method}


def _rounds(scale: Scale) -> list[_Round]:
    traces = [(case, seed) for seed in range(scale.traces) for case in scale.cases]
    starts = range(0, len(traces), scale.at_once)
    return [
        _Round(number, traces[start : start + scale.at_once]) for number, start in enumerate(starts)
    ]


class _Bench:
    """A run: starts listeners, plays in rounds, judges."""

    def __init__(
        self, scale: Scale, remarks: list[str], progress: Callable[[str], None], *, realtime: bool
    ) -> None:
        self._scale = scale
        self._remarks = remarks
        self._progress = progress
        self._realtime = realtime

    async def measure(self, host: str, folder: Path) -> Found:
        """Have all cases heard by all listeners that can be started."""
        programme = await speech.programme(self._scale.clips)
        payloads = packets.encode(programme.samples)
        decoded = packets.decode(payloads)
        async with AsyncExitStack() as running:
            started = [one async for one in self._start(host, folder, running)]
            found: dict[tuple[Case, str], list[Judgement]] = {
                (case, one.name): [] for case in self._scale.cases for one in started
            }
            for some in _rounds(self._scale):
                self._progress(f"traces, part {some.number + 1}")
                for case, call in await self._play(some, started, payloads):
                    listener = call.sender.listener
                    heard = await listener.heard(call.sender.call)
                    judgement = judge(programme, decoded, heard, call.trace, call.began_s)
                    found[case, listener.name].append(judgement)
            self._progress("the listeners end")
        return found

    async def _start(
        self, host: str, folder: Path, running: AsyncExitStack
    ) -> AsyncIterator[Listener]:
        for make in _MAKERS:
            try:
                yield await running.enter_async_context(make(host, folder))
            except SkippedError as reason:
                self._remarks.append(str(reason))

    async def _play(
        self, some: _Round, started: Sequence[Listener], payloads: Sequence[bytes]
    ) -> list[tuple[Case, Playing]]:
        """Place the calls of a round, and play in them until all is over."""
        calls: list[tuple[Case, Playing]] = []
        async with AsyncExitStack() as placed:
            for case, seed in some.traces:
                fate = trace(case.conditions(seed), len(payloads))
                for listener in started:
                    sender = await placed.enter_async_context(Sender(listener))
                    await sender.place()
                    calls.append((case, Playing(sender, fate)))
            with self._undisturbed():
                late_s = await play([call for _, call in calls], payloads)
            await asyncio.sleep(_REST_S)
        if late_s > _LATE_S:
            self._remarks.append(
                f"part {some.number + 1}: the sender itself was late by {late_s * 1000:.0f} ms once"
            )
        return calls

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Keep the sender in time: it goes before all others, and collects no garbage."""
        gc.collect()
        gc.disable()
        if self._realtime:
            isolation.set_realtime(os.getpid(), on=True)
        try:
            yield
        finally:
            if self._realtime:
                isolation.set_realtime(os.getpid(), on=False)
            gc.enable()
