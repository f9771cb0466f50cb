"""`firsthop bench media`: starts servers, has them called, and makes rows of what was seen.

Why it is measured as it is: ``docs/benchmarks.md``.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from firsthop.bench import isolation, machine, programs
from firsthop.bench.benchmark import Benchmark, Progress
from firsthop.bench.errors import BenchError, SkippedError
from firsthop.bench.isolation import Isolation
from firsthop.bench.media import chart, figures, kernel, servers, show
from firsthop.bench.media.crowd import Crowd, gathered
from firsthop.bench.media.figures import FEW
from firsthop.bench.media.seen import LONGEST_GAP_MS, Seen
from firsthop.bench.media.servers import Aiortc, Echo, Firsthop, Pion, Server
from firsthop.bench.report import Report, Row
from firsthop.load import sound
from firsthop.load.sound import Sound
from firsthop.speech.espeak import Voice

_TEXT: Final = (
    "Good morning. I would like to change the date of my booking, if that is possible. It was for "
    "the third of March, and something has come up. The week after would be fine, any day but "
    "Wednesday. Could you also tell me what that costs, and whether breakfast is in the price?"
)
#: A step of the ramp that is unfit is looked at again: a neighbour may have done it.
_TRIES: Final = 2
_SEED: Final = 6

Kind = type[Server]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is measured."""

    rounds: int
    seconds: float
    """Of each."""
    pcm: tuple[int, ...]
    """Sessions of the PCM echo."""
    packets: tuple[int, ...]
    """Sessions of the pass-through echo."""
    ramp: tuple[int, ...]
    """Ever more sessions of the pass-through echo, until a server does not hold them."""
    talkers: tuple[int, ...]
    """Sessions of the PCM echo between which memory grows."""
    idle: int
    """Sessions in which nobody speaks."""
    beside: tuple[Kind, ...]
    """Who is asked besides firsthop for ramp, memory and idle sessions."""


FULL: Final = Scale(
    rounds=3,
    seconds=6,
    pcm=(FEW, 25, 50),
    packets=(200,),
    ramp=(FEW, 250, 500, 750, 1_000, 1_250),
    talkers=(FEW, 50),
    idle=1_000,
    beside=(Pion,),
)
QUICK: Final = Scale(
    rounds=1,
    seconds=2,
    pcm=(FEW, 25),
    packets=(50,),
    ramp=(FEW, 100),
    talkers=(),
    idle=100,
    beside=(),
)


def steps(scale: Scale) -> int:
    """Return how many times a run reports progress."""
    turns = sum(len(_callable("pcm", sessions)) for sessions in scale.pcm)
    turns += sum(len(_callable("packets", sessions)) for sessions in scale.packets)
    alone = len(scale.ramp) + len(scale.talkers) + 1
    return scale.rounds * turns + (1 + len(scale.beside)) * alone


def run(scale: Scale, folder: Path, progress: Progress) -> Report:
    """Measure everything. `folder` is for files that nobody needs afterwards.

    Raises:
        BenchError: Something that it needs is missing, or does not come up.
    """
    kernel.allow_files()
    where = isolation.enter()
    host = programs.client_address(own_network=not any("loopback" in note for note in where.notes))
    report = Report("media", {}, remarks=list(where.notes))
    if where.other_core is None:
        report.remarks.append("one core: the callers take from the server, and gaps are theirs too")
    said = asyncio.run(_speech())
    media = _Media(scale, where, host, said, folder, progress, report)
    media.costs()
    media.ramps()
    media.idle()
    report.remarks += figures.faults(report.rows)
    report.about = _about(scale, where, said)
    return report


class _Media:
    """The parts of a run: each starts its servers, and adds its rows to the report."""

    def __init__(
        self,
        scale: Scale,
        where: Isolation,
        host: str,
        said: Sound,
        folder: Path,
        progress: Progress,
        report: Report,
    ) -> None:
        self._scale = scale
        self._where = where
        self._host = host
        self._said = said
        self._folder = folder
        self._progress = progress
        self._report = report
        self._rng = random.Random(_SEED)
        self._kinds: Sequence[Kind] = (Firsthop, *scale.beside)

    def costs(self) -> None:
        """What sessions cost, server by server in turns."""
        plan: dict[Echo, tuple[int, ...]] = {"pcm": self._scale.pcm, "packets": self._scale.packets}
        for echo, numbers in plan.items():
            with ExitStack() as running:
                up = self._up(_callable(echo, FEW), echo, running)
                for sessions in numbers:
                    takes = [one for one in up if type(one) in _callable(echo, sessions)]
                    self._cost(echo, sessions, takes)

    def ramps(self) -> None:
        """How many sessions are held, what each costs among many, and how much memory it takes."""
        steps: list[Row] = []
        scaled: list[Row] = []
        memory: list[Row] = []
        for kind in self._kinds:
            with ExitStack() as running:
                for server in self._up([kind], "packets", running):
                    seen = list(self._ramp(server))
                    steps += figures.ramp_rows(server.name, seen, max(self._scale.ramp))
                    scaled += figures.scale_rows(server.name, seen)
                    grown = figures.growth_row("packets", server.name, seen)
                    memory += [grown] if grown is not None else []
        self._report.rows += [*_by_metric(steps), *scaled, *memory]

    def idle(self) -> None:
        """What memory sessions take that decode and encode, and what those cost that are idle."""
        memory: list[Row] = []
        idle: list[Row] = []
        for kind in self._kinds:
            with ExitStack() as running:
                for server in self._up([kind], "pcm", running):
                    memory += self._grow(server)
                    idle += self._stay(server)
        self._report.rows += memory + idle

    def _cost(self, echo: Echo, sessions: int, up: Sequence[Server]) -> None:
        rounds: dict[str, list[Seen]] = defaultdict(list)
        name = figures.case(echo, sessions)
        for _ in range(self._scale.rounds):
            for server in self._rng.sample(up, len(up)):
                self._progress(f"{name}: {server.name}")
                with self._called(server) as crowd, self._unless_refused(f"{name}, {server.name}"):
                    crowd.join(sessions)
                    rounds[server.name].append(crowd.measure(self._scale.seconds))
        notes = {server.name: server.note for server in up}
        if rounds:
            self._report.rows += figures.cost_rows(echo, sessions, rounds, notes)

    def _ramp(self, server: Server) -> Iterator[Seen]:
        with (
            self._called(server) as crowd,
            self._unless_refused(f"{figures.RAMP}, {server.name}"),
        ):
            for sessions in self._scale.ramp:
                self._progress(f"{server.name}: {sessions:,} sessions")
                crowd.join(sessions)
                for _ in range(_TRIES):
                    seen = crowd.measure(self._scale.seconds)
                    fit = not any(seen.faults())
                    if fit:
                        break
                yield seen
                if not fit:
                    return

    def _grow(self, server: Server) -> list[Row]:
        seen = []
        with self._called(server) as crowd, self._unless_refused(f"Memory, {server.name}"):
            for sessions in self._scale.talkers:
                self._progress(f"{server.name}: memory of {sessions} sessions")
                crowd.join(sessions)
                seen.append(crowd.measure(self._scale.seconds))
        grown = figures.growth_row("pcm", server.name, seen)
        return [grown] if grown is not None else []

    def _stay(self, server: Server) -> list[Row]:
        many = self._scale.idle
        self._progress(f"{server.name}: {many:,} idle sessions")
        with self._called(server) as crowd, self._unless_refused(f"{many:,} idle, {server.name}"):
            crowd.join(many, talk=False)
            return [figures.idle_row(server.name, crowd.measure(self._scale.seconds))]
        return []

    def _up(self, kinds: Sequence[Kind], echo: Echo, running: ExitStack) -> list[Server]:
        """Start those servers that can be; the report says why others cannot."""
        up = []
        for kind in kinds:
            server = kind(self._where.core, self._host, echo, self._folder)
            running.callback(server.stop)
            try:
                server.start()
            except SkippedError as reason:
                self._remark(str(reason))
            else:
                up.append(server)
        return up

    def _called(self, server: Server) -> AbstractContextManager[Crowd]:
        return gathered(server, self._said, self._where, self._host)

    @contextmanager
    def _unless_refused(self, where: str) -> Iterator[None]:
        """Have the report say that a server did not take a call; its others count."""
        try:
            yield
        except BenchError as error:
            self._remark(f"{where}: {error}")

    def _remark(self, text: str) -> None:
        if text not in self._report.remarks:
            self._report.remarks.append(text)


def _callable(echo: Echo, sessions: int) -> tuple[Kind, ...]:
    """Who can be asked to hold so many sessions: of sound, aiortc holds a dozen or so."""
    if echo == "pcm" and sessions <= FEW:
        return Firsthop, Pion, Aiortc
    return Firsthop, Pion


def _by_metric(rows: Sequence[Row]) -> list[Row]:
    """Put the rows of a metric together, in the order in which they came."""
    metrics = list(dict.fromkeys(row.metric for row in rows))
    return sorted(rows, key=lambda row: metrics.index(row.metric))


async def _speech() -> Sound:
    pcm = await Voice().speak(_TEXT, servers.RATE)
    samples = np.frombuffer(pcm, dtype="<i2").astype(np.int16)
    return sound.of(samples, servers.RATE, bitrate=servers.BITRATE, complexity=10)


def _about(scale: Scale, where: Isolation, said: Sound) -> dict[str, str]:
    versions = {"Go": machine.version_of("go", "version"), **servers.versions()}
    size = sum(map(len, said.packets)) / len(said.packets)
    encoders = (
        f"{servers.RATE // 1000} kHz mono, {servers.BITRATE // 1000} kbit/s, complexity "
        f"{servers.COMPLEXITY}; aiortc's: its defaults"
    )
    method = (
        f"CPU time of the server process, all of it, on one core of its own, per session and "
        f"second over {scale.seconds:g} s; callers on the other"
        f"{', with real-time priority' if where.realtime else ''}; medians of {scale.rounds} "
        f"rounds in turns; a round counts if no packet is lost, all are there, and the gap p99 "
        f"is at most {LONGEST_GAP_MS:g} ms"
    )
    return {
        **machine.about(),
        **{name: version for name, version in versions.items() if version is not None},
        "packets": f"speech by espeak-ng in Opus, 20 ms, on average {size:.0f} bytes",
        "encoders": encoders,
        "method": method,
    }


BENCHMARK: Final = Benchmark(
    title="What a call costs the server that answers it",
    full=FULL,
    quick=QUICK,
    steps=steps,
    run=run,
    table=show.SHEET.table,
    markdown=show.SHEET.markdown,
    chart=chart.CHART,
)
