"""`firsthop bench global`: calls from afar in every way, breaks what they pass, and makes rows.

Why it is measured as it is: ``docs/benchmarks.md``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from firsthop.bench import machine
from firsthop.bench.benchmark import Progress
from firsthop.bench.errors import SkippedError
from firsthop.bench.global_ import faults, gaps, measures
from firsthop.bench.global_.breaking import Breaking
from firsthop.bench.global_.caller import browser_in
from firsthop.bench.global_.calling import Calling
from firsthop.bench.global_.faults import Fault
from firsthop.bench.global_.gaps import From
from firsthop.bench.global_.ways import RELAYED, TURN, TURN_AT_ONCE, Way, start_turn, ways
from firsthop.bench.report import Report
from firsthop.bench.world.deployment import Deployment
from firsthop.bench.world.redis import Redis
from firsthop.bench.world.world import World

_AGENT: Final = "firsthop.bench.global_.speaker:speak"
#: Where users call from, where the cluster is that they call, and where there is another one.
_USER, _CLUSTER, _OTHER = "sin", "fra", "iad"


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    runs: int
    """Calls of each way that count, after one to warm up."""
    media_calls: int
    """Calls of each way whose media is measured."""
    media_s: float
    """For how long."""
    chains: int
    """How many times everything breaks."""
    nearby: bool
    """Whether it does for calls from the cluster's region, too."""
    calls: int
    """At the same time, when something breaks."""
    watch_s: float
    """How long each fault is watched."""


FULL: Final = Scale(runs=7, media_calls=2, media_s=30, chains=3, nearby=True, calls=6, watch_s=7.5)
QUICK: Final = Scale(runs=2, media_calls=1, media_s=6, chains=1, nearby=False, calls=3, watch_s=6)


def steps(scale: Scale) -> int:
    """Return how many times a run reports progress, with coturn and Redis installed."""
    broken = len(faults.ALL) + scale.nearby * len(faults.IN_MID_CALL)
    return 1 + 4 * (scale.runs + 1 + scale.media_calls) + scale.chains * broken


def run(scale: Scale, folder: Path, progress: Progress) -> Report:
    """Measure everything. `folder` is for files that nobody needs afterwards.

    Raises:
        BenchError: It takes root and Linux, or something does not come up.
    """
    progress("the world comes up")
    remarks: list[str] = []
    with World() as world, ExitStack() as running:
        redis = Redis(world, f"{_OTHER}.edge", folder)
        if redis.installed:
            redis.start()
            running.callback(redis.stop)
        else:
            remarks.append("nothing of Redis: there is no redis-server")
        deployment = Deployment(
            world,
            folder,
            clusters={_CLUSTER: 2, _OTHER: 1},
            edges=[_CLUSTER, _OTHER, _USER],
            gateway=_USER,
            backend=_AGENT,
            state=redis.url if redis.installed else "memory",
            direct=True,
        )
        running.callback(deployment.stop)
        deployment.start()
        every = ways(world, deployment, _USER, _CLUSTER)
        try:
            start_turn(world, _USER, folder, running)
        except SkippedError as reason:
            remarks.append(str(reason))
            every = [way for way in every if way.name not in (TURN, TURN_AT_ONCE)]
        afar = _Afar(scale, world, deployment, redis, every, folder, progress)
        report = asyncio.run(afar.measure())
        late_ms = world.counts().get("latest, us", 0) / 1000
    report.about = _about(scale, report.about["browser"], late_ms)
    report.remarks = remarks + report.remarks
    return report


@dataclass(frozen=True)
class _Afar:
    """All that runs, and what is done with it."""

    scale: Scale
    world: World
    deployment: Deployment
    redis: Redis
    every: Sequence[Way]
    folder: Path
    progress: Progress

    async def measure(self) -> Report:
        """Measure all; only the browser stands in `about`."""
        relayed = next(way for way in self.every if way.name == RELAYED)
        async with AsyncExitStack() as browsers:
            browser = {
                region: await browsers.enter_async_context(
                    browser_in(
                        self.world,
                        f"{region}.user",
                        [way.origin for way in self.every],
                        self.folder,
                    )
                )
                for region in (_USER, _CLUSTER)
            }
            headers = self.deployment.headers(_USER)
            calling = Calling(browser[_USER], self.every, headers, self._sent, self.progress)
            await calling.call(self.scale.runs)
            await calling.listen(self.scale.media_calls, self.scale.media_s)
            far, near = (
                Breaking(
                    browser[region],
                    self._source(region),
                    relayed,
                    self.deployment.id_of(_CLUSTER),
                    self.deployment.headers(region),
                    self.scale.calls,
                    self.scale.watch_s,
                    self.progress,
                )
                for region in (_USER, _CLUSTER)
            )
            for _ in range(self.scale.chains):
                await far.chain(self._faults(_USER))
                if self.scale.nearby:
                    await near.chain(self._faults(_CLUSTER))
            version = browser[_USER].version
        report = Report("global", {"browser": version})
        report.remarks = [*calling.failures, *far.remarks, *near.remarks]
        report.rows = [
            *measures.setup_rows(self.every, calling.set_ups),
            *measures.media_rows(self.every, calling.media),
            *gaps.rows({**far.gaps, **near.gaps}, far.again),
        ]
        return report

    def _sent(self) -> int:
        return self.world.counts().get(f"{_USER}.user {_USER}.edge UDP", 0)

    def _source(self, region: str) -> From:
        plan = self.world.map
        both = frozenset((region, _CLUSTER))
        return From(region, 2 * (plan.within_ms if len(both) == 1 else plan.one_way_ms[both]))

    def _faults(self, region: str) -> dict[str, Fault]:
        made = faults.faults(self.world, self.deployment, self.redis, region, _CLUSTER)
        if not self.redis.installed:
            del made[faults.REDIS]
        if region == _CLUSTER:
            # Its users would be gone as well.
            del made[faults.REGION]
        return made


def _about(scale: Scale, browser: str, late_ms: float) -> dict[str, str]:
    return {
        **machine.about(),
        "browser": f"Chromium {browser}",
        "coturn": machine.version_of("turnserver", "--version") or "none",
        "world": (
            f"users and an edge in {_USER}, users, edge and cluster in {_CLUSTER}, another cluster "
            f"and edge in {_OTHER}; one way 180 ms to {_USER}, 80 ms between the others, 5 ms "
            "within; jitter and loss on public legs only; packets at most "
            f"{late_ms:.1f} ms late in it"
        ),
        "set-up": (
            f"medians of {scale.runs} calls each, in turns, after one to warm up; candidates count "
            "from the click, the answer from the POST on a warm connection, all else from the "
            "answer; round trips: requests to who relays until the offer leaves (candidates), ms "
            "of a round trip to the cluster (else)"
        ),
        "media": f"{scale.media_calls} calls of {scale.media_s:g} s each, as the browser tells",
        "gaps": (
            f"{scale.calls} calls at once, {scale.chains} times; longest silence of each beyond "
            "the pacing of 20 ms; targets are 300 ms (up, without the edge: 3.5 s) and the round "
            "trip between edge and cluster"
        ),
    }
