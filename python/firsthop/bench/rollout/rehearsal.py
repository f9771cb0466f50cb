"""The rehearsal: a chart brought up, called all the time, rolled, scaled, and robbed of a node."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from firsthop.bench import checkout
from firsthop.bench.errors import BenchError
from firsthop.bench.rollout import manifests
from firsthop.bench.rollout.cluster import Cluster, Delays
from firsthop.bench.rollout.crowd import Batch, Crowd, Plan
from firsthop.bench.rollout.network import Network
from firsthop.bench.rollout.pods import Pod
from firsthop.bench.rollout.release import Chart
from firsthop.tasks import cancel

RELAY, TRANSCEIVER, GATEWAY = "relay", "transceiver", "gateway"
RELAYS, TRANSCEIVERS, OUT, IN, LOSS = (
    "relays, gateways upgraded",
    "transceivers upgraded",
    "scaled out",
    "scaled in",
    "node lost",
)
STEPS: Final = (RELAYS, TRANSCEIVERS, OUT, IN, LOSS)

_RELEASE: Final = "firsthop"
_PUBLIC: Final = "203.0.113.10"
_CLIENT, _CLIENT_ADDRESS = "clients", "198.51.100.7"
_SESSIONS: Final = re.compile(r"^firsthop_transceiver_sessions (\S+)$", re.MULTILINE)
_HIGHEST: Final = -20
_UP_S: Final = 60.0
_SOON_S: Final = 30.0
_ASK_S: Final = 2.0
#: How long calls last that are placed after a node was lost.
_AFTER_S: Final = 2.0
_SAMPLE_S: Final = 0.5
_OFTEN_S: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How large the rehearsal is. Times are in seconds."""

    transceivers: int = 2
    relays: int = 2
    gateways: int = 2
    callers: int = 3
    """Of each batch."""
    call_s: float = 4.0
    every_s: float = 2.0
    """From one batch to the next."""
    long_callers: int = 2
    """Who stay while transceivers are upgraded, longer than these drain."""
    standing_callers: int = 6
    """Who are there when a node is lost."""
    relay_drain_s: int = 3
    transceiver_drain_s: int = 6
    pre_stop_s: int = 1
    """Of relays and gateways."""
    min_ready_s: float = 1.0
    """The chart's `minReadySeconds` are cut to so many."""
    rest_s: float = 0.5
    """Between two steps."""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that was done to the cluster. Moments are of `time.monotonic`."""

    name: str
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Sample:
    """The calls of each transceiver at one moment."""

    at: float
    sessions: Mapping[str, int]
    """By pod."""


@dataclass(kw_only=True)
class Rehearsed:
    """What a rehearsal found."""

    steps: list[Step] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    pods: Sequence[Pod] = ()
    problems: Sequence[str] = ()
    """What happened to pods and should not have."""
    short: list[Batch] = field(default_factory=list)
    """Batches of calls that are shorter than a drain, until a node was lost."""
    long: list[Batch] = field(default_factory=list)
    """The calls that were there for as long as transceivers were upgraded."""
    standing: list[Batch] = field(default_factory=list)
    """The calls that were there when a node was lost."""
    after: list[Batch] = field(default_factory=list)
    """Calls placed after that."""
    spared: int = 0
    """Of the standing calls, those whose transceiver was on another node."""
    took_calls_s: float | None = None
    """From when the added transceiver was ready to its first call."""
    remarks: list[str] = field(default_factory=list)
    """What this machine lacked."""


async def rehearse(scale: Scale, folder: Path, progress: Callable[[str], None]) -> Rehearsed:
    """Go through all steps.

    Args:
        scale: How large.
        folder: For logs and mounted files.
        progress: Called with what comes now: as often as `STEPS` has steps, and once before.

    Raises:
        SkippedError: This machine lacks something that it needs.
        BenchError: Something does not come up, or does not settle.
    """
    found = Rehearsed()
    chart = _chart(scale, found.remarks)
    with _at_once(), Network(folder) as network:
        network.attach(_CLIENT, _CLIENT_ADDRESS)
        async with Cluster(chart, network, folder, public=_PUBLIC, delays=Delays()) as cluster:
            progress("the cluster comes up")
            await cluster.settled(within_s=_UP_S)
            async with _Watch(cluster, found.samples):
                try:
                    await _Rehearsal(scale, cluster, network, found, progress).run()
                finally:
                    found.pods, found.problems = cluster.pods, cluster.problems()
    return found


@contextmanager
def _at_once() -> Iterator[None]:
    """Have this thread go before what else the machine does, as pods do: it is their kubelet."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _HIGHEST)
    try:
        yield
    finally:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, before)


def _chart(scale: Scale, remarks: list[str]) -> Chart:
    """Read the chart as this scale has it."""
    redis = shutil.which("redis-server") is not None
    if not redis:
        remarks.append("without Redis: there is no redis-server")
    noticed = {"preStopSeconds": scale.pre_stop_s}
    values: dict[str, Any] = {
        "publicAddresses": [f"{_PUBLIC}:3478"],
        # Redis and all who ask it share this machine's cores with everything else.
        "settings": {"backend": "mirror", "relay": {"flow_cache": {"budget_ms": 50}}},
        "agent": {"enabled": False},
        "redis": {"enabled": redis},
        RELAY: _part(scale.relays, scale.relay_drain_s) | noticed,
        TRANSCEIVER: _part(scale.transceivers, scale.transceiver_drain_s),
        GATEWAY: _part(scale.gateways, scale.relay_drain_s) | noticed,
    }
    profile = checkout.CHART / "profiles" / "one-cluster.yaml"
    chart = manifests.read(manifests.render(checkout.CHART, _RELEASE, [profile], values))
    shorter = [
        replace(one, min_ready_s=min(one.min_ready_s, scale.min_ready_s))
        for one in chart.deployments
    ]
    return replace(chart, deployments=tuple(shorter))


def _part(replicas: int, drain_s: int) -> dict[str, Any]:
    return {
        "replicas": replicas,
        "autoscaling": {"enabled": False},
        "drainSeconds": drain_s,
    }


class _Watch:
    """Notes the calls of each transceiver, every now and then."""

    def __init__(self, cluster: Cluster, samples: list[Sample]) -> None:
        self._cluster = cluster
        self._samples = samples

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def __aexit__(self, *_: object) -> None:
        await cancel(self._task)

    async def _run(self) -> None:
        while True:
            pods = self._cluster.of(TRANSCEIVER)
            counts = await asyncio.gather(*map(sessions, pods))
            seen = {pod.name: n for pod, n in zip(pods, counts, strict=True) if n is not None}
            self._samples.append(Sample(time.monotonic(), seen))
            await asyncio.sleep(_SAMPLE_S)


async def sessions(pod: Pod) -> int | None:
    """Return how many calls a transceiver has; None if it does not say."""
    ports = pod.deployment.container.ports
    try:
        _, text = await pod.ask("/metrics", ports["http"], _ASK_S)
    except OSError:
        return None
    found = _SESSIONS.search(text)
    return None if found is None else int(float(found[1]))


class _Rehearsal:
    """The steps, one after the other."""

    def __init__(
        self,
        scale: Scale,
        cluster: Cluster,
        network: Network,
        found: Rehearsed,
        progress: Callable[[str], None],
    ) -> None:
        self._scale = scale
        self._cluster = cluster
        self._network = network
        self._found = found
        self._progress = progress

    async def run(self) -> None:
        scale, cluster = self._scale, self._cluster
        async with self._crowd(scale.callers, scale.call_s, scale.every_s) as short:
            await short.standing()
            async with self._step(RELAYS):
                cluster.upgrade(RELAY)
                cluster.upgrade(GATEWAY)
                await cluster.settled(RELAY, GATEWAY)
            async with self._crowd(scale.long_callers) as long:
                await long.standing()
                async with self._step(TRANSCEIVERS):
                    cluster.upgrade(TRANSCEIVER)
                    await cluster.settled(TRANSCEIVER)
                self._found.long += await long.finish()
            await self._scale_out()
            async with self._step(IN):
                cluster.scale(TRANSCEIVER, -1)
                await cluster.settled(TRANSCEIVER)
            async with self._crowd(scale.standing_callers) as standing:
                await asyncio.gather(short.finish(), standing.standing())
                self._found.short += short.batches
                await self._lose_a_node()
                self._found.standing += await standing.finish()

    async def _scale_out(self) -> None:
        before = set(self._cluster.pods)
        async with self._step(OUT):
            self._cluster.scale(TRANSCEIVER, 1)
            await self._cluster.settled(TRANSCEIVER)
            added = next(pod for pod in self._cluster.of(TRANSCEIVER) if pod not in before)
            deadline = time.monotonic() + _SOON_S
            while not await sessions(added):
                if time.monotonic() > deadline:
                    raise BenchError(f"{added.name} is ready, and takes no calls")
                await asyncio.sleep(_OFTEN_S)
            assert added.first_ready is not None
            self._found.took_calls_s = time.monotonic() - added.first_ready

    async def _lose_a_node(self) -> None:
        cluster = self._cluster
        async with self._step(LOSS):
            counts = {pod: await sessions(pod) or 0 for pod in cluster.of(TRANSCEIVER)}
            lost = cluster.lose(self._other_node())
            self._found.spared = sum(n for pod, n in counts.items() if pod not in lost)
            await asyncio.sleep(Delays().node_s)
            await cluster.settled()
        async with self._crowd(self._scale.callers, _AFTER_S, 2 * _AFTER_S) as after:
            await after.standing()
            self._found.after += await after.finish()

    def _other_node(self) -> str:
        """Return a node without Redis: there is one only, and without it flows are learned anew."""
        redis = {pod.node for pod in self._cluster.of("redis")}
        return next(pod.node for pod in self._cluster.of(RELAY) if pod.node not in redis)

    @asynccontextmanager
    async def _step(self, name: str) -> AsyncIterator[None]:
        self._progress(name)
        await asyncio.sleep(self._scale.rest_s)
        began = time.monotonic()
        yield
        self._found.steps.append(Step(name, began, time.monotonic()))

    def _crowd(self, callers: int, seconds: float | None = None, every_s: float = 0.0) -> Crowd:
        host, port = self._cluster.address(GATEWAY)
        plan = Plan(
            url=f"http://{host}:{port}/v1/realtime/calls",
            key=self._cluster.chart.api_key(),
            local=_CLIENT_ADDRESS,
            callers=callers,
            seconds=seconds,
            every_s=every_s,
        )
        return Crowd(self._network.within(_CLIENT), plan)
