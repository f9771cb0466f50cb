"""Whom the gateway asks, in turn: the cluster that has the call, or those that steering names."""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

from firsthop.errors import UnknownCallError
from firsthop.fleet.entrance import Entrance
from firsthop.fleet.model import FleetCluster
from firsthop.fleet.view import View
from firsthop.gateway.asked import Asked
from firsthop.steering.context import Context
from firsthop.steering.decide import Decision, decide

#: Transceivers of one cluster that are asked, at most: of those that say that they want calls, and
#: of all others.
_READY: Final = 8
_OTHERS: Final = 3
#: The first rank; see `Targets._rank`.
_WANTS_CALLS: Final = 0
#: So long one that could not be reached is asked last. By then, probes know better.
_AVOIDED_SECONDS: Final = 5.0
#: Of an id that is unknown, in characters.
_MAX_SHOWN: Final = 128


@dataclass(frozen=True, slots=True)
class Target:
    """One transceiver to ask."""

    url: str
    """Of its signaling, without a slash at the end."""
    name: str | None
    """Whose certificate it has, if the URL has an address in its place."""
    cluster: int
    decision: Decision
    final: bool
    """Whether its word stands, even that there is no room: the call is there and nowhere else."""


class Targets:
    """Chooses whom to ask.

    Requests go round the transceivers of a cluster that want calls, as they said when they were
    last asked. Then come those of which nothing is known, and those that could not be reached a
    moment ago: of a region that goes dark, few calls have to find it out. Who said that it wants
    none is asked when nobody else is left. What is about a call that there is, that one passes on
    as well as others do.

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
                decision = decide(context, view, home.id)
                yield from self._in(home, view, decision, asked.key, final=True)
            if not asked.elsewhere:
                return
        dark = {cluster.id for cluster in view.fleet.clusters if self._is_dark(cluster, view)}
        for avoided in (dark, frozenset[int]()):
            while (decision := decide(context, view, without=tried | avoided)).cluster is not None:
                tried.add(decision.cluster)
                cluster = view.fleet.cluster(decision.cluster)
                if cluster is not None:
                    yield from self._in(cluster, view, decision, asked.key, final=False)

    def _is_dark(self, cluster: FleetCluster, view: View) -> bool:
        return all(self._avoids(entrance.url) for entrance in view.entrances(cluster))

    def _avoids(self, url: str) -> bool:
        since = self._unreachable.get(url)
        return since is not None and self._now() - since < _AVOIDED_SECONDS

    def _in(
        self,
        cluster: FleetCluster,
        view: View,
        decision: Decision,
        key: str | None,
        *,
        final: bool,
    ) -> Iterator[Target]:
        entrances = view.entrances(cluster)
        if key is not None:
            chosen = self._of_key(entrances, key)
        else:
            chosen = self._in_turn(entrances, next(self._turns[cluster.id]), final=final)
        for entrance in chosen:
            yield Target(entrance.url, entrance.name, cluster.id, decision, final)

    def _of_key(self, entrances: Sequence[Entrance], key: str) -> Sequence[Entrance]:
        """The same key finds the same transceiver, whatever others come and go."""

        def rank(entrance: Entrance) -> tuple[bool, bytes]:
            place = hashlib.sha256(f"{entrance.url} {key}".encode()).digest()
            return self._avoids(entrance.url), place

        return sorted(entrances, key=rank)[: _READY + _OTHERS]

    def _in_turn(
        self, entrances: Sequence[Entrance], turn: int, *, final: bool
    ) -> Sequence[Entrance]:
        ranked: dict[int, list[Entrance]] = {}
        for entrance in entrances:
            ranked.setdefault(self._rank(entrance, final=final), []).append(entrance)
        # Each rank goes round by itself, so that none of its own is asked for a neighbour's sake.
        turned = {rank: _turned(group, turn) for rank, group in ranked.items()}
        others = [entrance for rank in sorted(turned) if rank for entrance in turned[rank]]
        return turned.get(_WANTS_CALLS, [])[:_READY] + others[:_OTHERS]

    def _rank(self, entrance: Entrance, *, final: bool) -> int:
        """The lower, the earlier."""
        if entrance.ready is False:
            # For a call that it need not take it is as good as another.
            return 1 if final else 4
        if self._avoids(entrance.url):
            return 3
        return _WANTS_CALLS if entrance.ready else 2


def _turned(entrances: list[Entrance], turn: int) -> list[Entrance]:
    first = turn % len(entrances)
    return entrances[first:] + entrances[:first]
