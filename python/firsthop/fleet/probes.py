"""Asks clusters and ingress points whether they are ready."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Final

import httpx

from firsthop.fleet.beat import Place
from firsthop.fleet.model import Fleet

#: How long an answer may take, connecting included, in seconds.
_PATIENCE: Final = 1.0
#: Questions at the same time.
_AT_ONCE: Final = 64
#: More than any answer to /readyz has.
_MAX_ANSWER_BYTES: Final = 4096
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
    """Asks all of a fleet, round by round. Between rounds `health` stays as it is."""

    def __init__(self) -> None:
        self._http = httpx.AsyncClient(
            timeout=_PATIENCE,
            limits=httpx.Limits(max_connections=_AT_ONCE, max_keepalive_connections=_AT_ONCE),
            # Where others are is the fleet file's to say, and no variable's.
            trust_env=False,
        )
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._health: dict[Place, Health] = {}

    @property
    def health(self) -> Mapping[Place, Health]:
        """How those do that are asked. Those without URLs are not, and count as up."""
        return MappingProxyType(self._health)

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
        await asyncio.gather(*(self._ask_any(place, urls) for place, urls in asked.items()))

    async def close(self) -> None:
        """Let go of connections."""
        with suppress(Exception):
            await self._http.aclose()

    async def _ask_any(self, place: Place, urls: Sequence[str]) -> None:
        answers = await asyncio.gather(*(self._ask(url) for url in urls))
        health = self._health.get(place)
        if health is not None:
            health.note(any(answers), time.time())

    async def _ask(self, url: str) -> bool:
        """Whether one answers 200."""
        try:
            async with (
                self._places,
                asyncio.timeout(_PATIENCE),
                self._http.stream("GET", f"{url.rstrip('/')}/readyz") as response,
            ):
                # A connection whose answer was read to its end serves again.
                size = 0
                async for part in response.aiter_raw():
                    size += len(part)
                    if size > _MAX_ANSWER_BYTES:
                        return False
                return response.status_code == httpx.codes.OK
        except Exception:
            # Not only `httpx.HTTPError`: whoever listens there may answer anything.
            return False
