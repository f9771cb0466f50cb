"""Keeps a view of the fleet: what the file says, what we find out, and what all report.

Invariant kept here: *no source is needed*. One that is slow, dead or full of garbage leaves what
was last known of it in place, and tells its age.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Final

import structlog

from firsthop import keyring
from firsthop.config import Settings
from firsthop.fleet.beat import Beat, Place
from firsthop.fleet.file import WatchedFile, read
from firsthop.fleet.freshness import Freshness
from firsthop.fleet.listening import Listening
from firsthop.fleet.model import Fleet, FleetCluster
from firsthop.fleet.probes import Health, Probes
from firsthop.fleet.view import ClusterState, IngressState, View
from firsthop.store.redis import StoreError
from firsthop.tasks import cancel, raise_failure
from firsthop.telemetry.metrics import Metrics

log = structlog.get_logger()

_INTERVAL: Final = 1.0
_UNASKED: Final = Health()


class Observer:
    """Watches the fleet from `start` to `stop`; before, what the file says counts as healthy.

    Args:
        settings: All settings.
        metrics: Where it is told how the fleet does, and how old the view is.
        clusters: Whether clusters are watched too. Of those who have chosen theirs, there are many;
            they need the ingress points, and no heartbeats.

    Raises:
        ConfigError: The fleet file is wrong.
    """

    def __init__(self, settings: Settings, metrics: Metrics, *, clusters: bool = True) -> None:
        self._metrics = metrics
        self._clusters = clusters
        self._fleet = Fleet()
        self._file: WatchedFile[Fleet] | None = None
        if settings.fleet.file is not None:
            self._file = WatchedFile(Path(settings.fleet.file), read, self._take_fleet)
            self._fleet = self._file.load()
        self._probes = Probes()
        self._listening: Listening | None = None
        keys = keyring.of_fleet(settings)
        listens = clusters and settings.fleet.state != "memory"
        if listens and keys is None:
            log.warning("fleet.no_keys", effect="heartbeats are not read; see fleet.keys")
        elif listens and keys is not None:
            garbage = metrics.fleet_garbage.inc
            self._listening = Listening(settings.fleet.state, keys, garbage)
        self._beats: Mapping[Place, Sequence[Beat]] = {}
        self._heard_at: dict[Place, float] = {}
        self._view = View(self._fleet)
        self._tasks: list[asyncio.Task[None]] = []
        self._file_age = Freshness("file", metrics) if self._file else None
        self._beats_age = Freshness("heartbeats", metrics) if self._listening else None
        self._compose()

    @property
    def view(self) -> View:
        """The fleet as it was last seen."""
        return self._view

    def use(self, settings: Settings) -> None:
        """Open heartbeats with the keys of these settings from now on."""
        keys = keyring.of_fleet(settings)
        if self._listening is not None and keys is not None:
            self._listening.use(keys)

    def start(self) -> None:
        """Begin to watch, on the running loop."""
        # One that is slow holds up none of the others.
        looks = (self._read, self._probe, self._listen)
        self._tasks = [asyncio.create_task(_repeated(look)) for look in looks]

    async def look(self) -> None:
        """Ask all sources once, now."""
        await self._read()
        await asyncio.gather(self._probe(), self._listen())

    async def stop(self) -> None:
        """Watch no more. The view stays."""
        tasks, self._tasks = self._tasks, []
        outcomes = await cancel(*tasks)
        await self._probes.close()
        if self._listening is not None:
            await self._listening.close()
        raise_failure(outcomes)

    def _take_fleet(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._compose()

    async def _read(self) -> None:
        if self._file is not None and self._file_age is not None:
            await self._file.check()
            self._file_age.note(self._file.problem)

    async def _probe(self) -> None:
        await self._probes.round(self._fleet, clusters=self._clusters)
        self._compose()

    async def _listen(self) -> None:
        if self._listening is None or self._beats_age is None:
            return
        try:
            self._beats = await self._listening.read(self._places())
        except StoreError as error:
            self._beats_age.note(error.reason)
            return
        self._beats_age.note(None)
        now = time.time()
        self._heard_at |= {place: now for place, beats in self._beats.items() if beats}
        self._compose()

    def _places(self) -> list[Place]:
        clusters = [Place("cluster", cluster.id) for cluster in self._fleet.clusters]
        return clusters + [Place("ingress", ingress.id) for ingress in self._fleet.ingresses]

    def _compose(self) -> None:
        before = self._view
        clusters = {cluster.id: self._cluster(cluster) for cluster in self._fleet.clusters}
        ingresses = {ingress.id: self._ingress(ingress.id) for ingress in self._fleet.ingresses}
        self._view = View(self._fleet, clusters, ingresses)
        _log_changes("cluster", before.clusters, clusters)
        _log_changes("ingress", before.ingresses, ingresses)
        self._export()

    def _cluster(self, cluster: FleetCluster) -> ClusterState:
        health = self._probes.health.get(Place("cluster", cluster.id), _UNASKED)
        beats = self._beats.get(Place("cluster", cluster.id), ())
        # What drains has neither room nor a share in how full the others are.
        open_ = [beat for beat in beats if not beat.draining] or beats
        sessions = [beat.sessions for beat in open_ if beat.sessions is not None]
        capacity = [beat.capacity for beat in open_ if beat.capacity is not None]
        return ClusterState(
            healthy=health.healthy,
            draining=bool(beats) and all(beat.draining for beat in beats),
            sessions=sum(sessions) if sessions else None,
            capacity=cluster.capacity or (sum(capacity) if capacity else None),
            seen=self._seen(Place("cluster", cluster.id), health),
            entrances=self._probes.entrances(cluster),
        )

    def _ingress(self, id: int) -> IngressState:
        health = self._probes.health.get(Place("ingress", id), _UNASKED)
        return IngressState(health.healthy, self._seen(Place("ingress", id), health))

    def _seen(self, place: Place, health: Health) -> float | None:
        return max(
            (at for at in (health.seen, self._heard_at.get(place)) if at is not None), default=None
        )

    def _export(self) -> None:
        metrics, view = self._metrics, self._view
        for part, states in (("cluster", view.clusters), ("ingress", view.ingresses)):
            metrics.fleet_healthy.labels(part).set(sum(it.healthy for it in states.values()))
        metrics.fleet_sessions.clear()
        metrics.fleet_signaling.clear()
        for cluster in view.fleet.clusters:
            state = view.cluster(cluster.id)
            if state.sessions is not None:
                metrics.fleet_sessions.labels(cluster.name).set(state.sessions)
            for word, number in Counter(one.state for one in state.entrances).items():
                metrics.fleet_signaling.labels(cluster.name, word).set(number)


async def _repeated(look: Callable[[], Coroutine[None, None, None]]) -> None:
    while True:
        await look()
        await asyncio.sleep(_INTERVAL)


def _log_changes(
    part: str,
    before: Mapping[int, ClusterState] | Mapping[int, IngressState],
    now: Mapping[int, ClusterState] | Mapping[int, IngressState],
) -> None:
    for id_, state in now.items():
        if id_ in before and before[id_].healthy != state.healthy:
            tell = log.info if state.healthy else log.warning
            tell(f"fleet.{part}_{'back' if state.healthy else 'down'}", id=id_)
