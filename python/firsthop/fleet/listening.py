"""Hears the heartbeats of all, from the store that they share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from redis.asyncio import Redis

from firsthop.fleet.beat import SLOTS, Beat, BeatSeal, Heard, Place, Roster
from firsthop.keyring import Keyring
from firsthop.store.redis import StoreError, asking, client

_MAX_CONNECTIONS: Final = 2


class Listening:
    """Reads who reports of which cluster and ingress point.

    Args:
        url: Where the store is.
        keys: What beats are sealed under.
        count_garbage: Told how many slots were found that nobody of ours can have written now.
    """

    def __init__(self, url: str, keys: Keyring, count_garbage: Callable[[int], None]) -> None:
        self._seal = BeatSeal(*keys)
        self._redis: Redis = client(url, _MAX_CONNECTIONS)
        self._count_garbage = count_garbage
        self._rosters: dict[Place, Roster] = {}
        #: What each slot of the last read held, by name: most have not changed.
        self._opened: dict[str, dict[bytes, Heard | None]] = {}

    def use(self, keys: Keyring) -> None:
        """Open what is sealed under these keys, from now on."""
        self._seal.use(*keys)
        self._opened.clear()

    async def read(self, places: Sequence[Place]) -> dict[Place, list[Beat]]:
        """Return the last beat of each process that lives, by place.

        Raises:
            StoreError: It failed, or did not answer in time.
        """
        asked = [(place, name) for place in places for name in self._seal.names(place)]
        async with asking():
            pipeline = self._redis.pipeline(transaction=False)
            for _, name in asked:
                pipeline.getrange(name, 0, SLOTS * self._seal.slot_bytes - 1)
            answers = await pipeline.execute(raise_on_error=False) if asked else []
        texts = dict(zip(asked, answers, strict=True))
        found: dict[Place, list[Heard]] = {place: [] for place in places}
        for (place, name), text in texts.items():
            if not isinstance(text, bytes):
                # Something else under our name.
                self._count_garbage(1)
                text = b""
            found[place] += self._heard(place, name, text)
            # Others have their turn: this is up to some milliseconds of work for each place.
            await asyncio.sleep(0)
        self._opened = {name: self._opened[name] for _, name in asked}
        return self._alive(found)

    async def close(self) -> None:
        """Close all connections; a server that does not want to part is left standing."""
        with suppress(StoreError):
            async with asking():
                await self._redis.aclose()

    def _heard(self, place: Place, name: str, text: bytes) -> list[Heard]:
        now, before = time.time(), self._opened.get(name, {})
        opened: dict[bytes, Heard | None] = {}
        for _, slot in self._seal.slots(text):
            known = slot in before
            opened[slot] = before[slot] if known else self._seal.open(name, place, slot)
        self._opened[name] = opened
        good = [heard for heard in opened.values() if heard is not None and heard.is_good(now)]
        self._count_garbage(
            sum(heard is None and slot not in before for slot, heard in opened.items())
        )
        return good

    def _alive(self, found: Mapping[Place, Sequence[Heard]]) -> dict[Place, list[Beat]]:
        now, unix_seconds = asyncio.get_running_loop().time(), time.time()
        self._rosters = {place: self._rosters.get(place, Roster()) for place in found}
        return {
            place: self._rosters[place].update(heard, now, unix_seconds)
            for place, heard in found.items()
        }
