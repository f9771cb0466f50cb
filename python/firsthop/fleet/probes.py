"""Asks clusters and ingress points whether they are ready."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

import httpx

from firsthop.authorities import authorities
from firsthop.fleet.beat import Place
from firsthop.fleet.entrance import Entrance, entrances, name_in
from firsthop.fleet.model import Fleet, FleetCluster
from firsthop.fleet.names import Names

#: How long an answer may take, connecting included, in seconds.
_PATIENCE: Final = 1.0
#: Questions at the same time.
_AT_ONCE: Final = 256
#: Addresses of one cluster or ingress point that are asked.
_MAX_ENTRANCES: Final = 256
#: More than any answer to /readyz has.
_MAX_ANSWER_BYTES: Final = 4096
#: What answers to /readyz mean.
_READINESS: Final = {200: True, 503: False}
#: Rounds in a row without an answer after which one counts as down.
_FAILURES: Final = 2


class Health:
    """Whether one answers: it takes two failures in a row to leave, and one success to return."""

    def __init__(self) -> None:
        self._failures = 0
        self.seen: float | None = None
        """When it last answered, in Unix seconds."""

    @property
    def healthy(self) -> bool:
        """Whether it counts as up; at first it does."""
        return self._failures < _FAILURES

    def note(self, answered: bool, unix_seconds: float) -> None:
        """Take the outcome of a round."""
        if answered:
            self._failures, self.seen = 0, unix_seconds
        else:
            self._failures += 1


class Probes:
    """Asks all of a fleet, round by round. Between rounds what was found out stays as it is.

    A URL whose host is a name stands for all addresses of that name. Each is asked by itself, and
    one that appears or goes is noticed in the next round.

    Args:
        names: What names stand for.
    """

    def __init__(self, names: Names | None = None) -> None:
        self._names = names or Names()
        self._http = httpx.AsyncClient(
            timeout=_PATIENCE,
            limits=httpx.Limits(max_connections=_AT_ONCE, max_keepalive_connections=_AT_ONCE),
            # Where others are is the fleet file's to say, and no variable's.
            trust_env=False,
            verify=authorities(),
        )
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._health: dict[Place, Health] = {}
        #: By what the fleet file says of a cluster's signaling.
        self._entrances: dict[tuple[str, ...], tuple[Entrance, ...]] = {}

    @property
    def health(self) -> Mapping[Place, Health]:
        """How those do that are asked. Those without URLs are not, and count as up."""
        return MappingProxyType(self._health)

    def entrances(self, cluster: FleetCluster) -> tuple[Entrance, ...]:
        """Where a cluster takes offers, and what was said there last; empty: it was not asked."""
        return self._entrances.get(cluster.signaling, ())

    async def round(self, fleet: Fleet, *, clusters: bool = True) -> None:
        """Ask all ingress points once, and all clusters too unless they are left out."""
        asked = {
            place: urls
            for place, urls in [
                *((Place("cluster", it.id), it.signaling) for it in fleet.clusters if clusters),
                *((Place("ingress", it.id), it.health) for it in fleet.ingresses),
            ]
            if urls
        }
        # Who has left the fleet is forgotten.
        self._health = {place: self._health.get(place, Health()) for place in asked}
        told = {urls for place, urls in asked.items() if place.part == "cluster"}
        self._entrances = {urls: self._entrances[urls] for urls in told & {*self._entrances}}
        await asyncio.gather(*(self._ask_any(place, urls) for place, urls in asked.items()))

    async def close(self) -> None:
        """Let go of connections."""
        await self._names.close()
        with suppress(Exception):
            await self._http.aclose()

    async def _ask_any(self, place: Place, urls: tuple[str, ...]) -> None:
        found = await self._found(urls)
        answers = await asyncio.gather(*(self._ask(entrance) for entrance in found))
        health = self._health.get(place)
        if health is not None:
            health.note(any(answers), time.time())
        if place.part == "cluster":
            both = zip(found, answers, strict=True)
            self._entrances[urls] = tuple(replace(one, ready=ready) for one, ready in both)

    async def _found(self, urls: Sequence[str]) -> list[Entrance]:
        """What URLs stand for now, each address once."""
        names = [name_in(url) for url in urls]
        addresses = await asyncio.gather(
            *(self._names.addresses(name, _PATIENCE) for name in names if name is not None)
        )
        known = dict(zip((name for name in names if name is not None), addresses, strict=True))
        found: dict[str, Entrance] = {}
        for url, name in zip(urls, names, strict=True):
            for entrance in entrances(url, () if name is None else known[name]):
                found.setdefault(entrance.url, entrance)
        return list(found.values())[:_MAX_ENTRANCES]

    async def _ask(self, entrance: Entrance) -> bool | None:
        """Whether one wants calls; None if it does not say."""
        named: dict[str, Any] = {"headers": {"Host": entrance.host}}
        if entrance.name is not None:
            named["extensions"] = {"sni_hostname": entrance.name}
        try:
            async with (
                self._places,
                asyncio.timeout(_PATIENCE),
                self._http.stream("GET", f"{entrance.url}/readyz", **named) as response,
            ):
                # A connection whose answer was read to its end serves again.
                size = 0
                async for part in response.aiter_raw():
                    size += len(part)
                    if size > _MAX_ANSWER_BYTES:
                        return None
                return _READINESS.get(response.status_code)
        except Exception:
            # Not only `httpx.HTTPError`: whoever listens there may answer anything.
            return None
