"""Whom the gateway asks, in turn: the cluster that has the call, or those that steering names."""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Final

from firsthop.errors import UnknownCallError
from firsthop.fleet.model import FleetCluster
from firsthop.fleet.view import View
from firsthop.gateway.asked import Asked
from firsthop.steering.context import Context
from firsthop.steering.decide import Decision, decide

#: Transceivers of one cluster that are asked, at most.
_PER_CLUSTER: Final = 3
#: So long one that could not be reached is asked last. By then, probes know better.
_AVOIDED_SECONDS: Final = 5.0
#: Of an id that is unknown, in characters.
_MAX_SHOWN: Final = 128


@dataclass(frozen=True, slots=True)
class Target:
    """One transceiver to ask."""

    url: str
    """Of its signaling, without a slash at the end."""
    cluster: int
    decision: Decision
    final: bool
    """Whether its word stands, even that there is no room: the call is there and nowhere else."""


class Targets:
    """Chooses whom to ask.

    Requests go round the transceivers of a cluster. Who could not be reached a moment ago is asked
    when nobody else is left: of a region that goes dark, few calls have to find it out.

    Args:
        now: Returns monotonic seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._turns: defaultdict[int, count[int]] = defaultdict(count)
        self._unreachable: dict[str, float] = {}

    def note(self, target: Target, *, reached: bool) -> None:
        """Take note of whether a transceiver could be reached."""
        if reached:
            self._unreachable.pop(target.url, None)
        else:
            now = self._now()
            self._unreachable = {
                url: since
                for url, since in self._unreachable.items()
                if now - since < _AVOIDED_SECONDS
            } | {target.url: now}

    def of(self, asked: Asked, context: Context, view: View) -> Iterator[Target]:
        """Yield whom to ask: the next one if the one before cannot be reached or has no room.

        Raises:
            UnknownCallError: The call is of no cluster that there is.
        """
        tried = {cluster.id for cluster in view.fleet.clusters if not cluster.signaling}
        if asked.call_id is not None:
            home = None if asked.cluster is None else view.fleet.cluster(asked.cluster)
            if home is None and not asked.elsewhere:
                raise UnknownCallError(asked.call_id[:_MAX_SHOWN])
            if home is not None:
                tried.add(home.id)
                yield from self._in(home, decide(context, view, home.id), asked.key, final=True)
            if not asked.elsewhere:
                return
        dark = {cluster.id for cluster in view.fleet.clusters if self._is_dark(cluster)}
        for avoided in (dark, frozenset[int]()):
            while (decision := decide(context, view, without=tried | avoided)).cluster is not None:
                tried.add(decision.cluster)
                cluster = view.fleet.cluster(decision.cluster)
                if cluster is not None:
                    yield from self._in(cluster, decision, asked.key, final=False)

    def _is_dark(self, cluster: FleetCluster) -> bool:
        return all(self._avoids(_bare(url)) for url in cluster.signaling)

    def _avoids(self, url: str) -> bool:
        since = self._unreachable.get(url)
        return since is not None and self._now() - since < _AVOIDED_SECONDS

    def _in(
        self, cluster: FleetCluster, decision: Decision, key: str | None, *, final: bool
    ) -> Iterator[Target]:
        urls = [_bare(url) for url in cluster.signaling]
        if key is not None:
            # The same key finds the same transceiver, whatever others come and go.
            urls.sort(key=lambda url: hashlib.sha256(f"{url} {key}".encode()).digest())
        elif urls:
            first = next(self._turns[cluster.id]) % len(urls)
            urls = urls[first:] + urls[:first]
        urls.sort(key=self._avoids)
        for url in urls[:_PER_CLUSTER]:
            yield Target(url, cluster.id, decision, final)


def _bare(url: str) -> str:
    return url.rstrip("/")
