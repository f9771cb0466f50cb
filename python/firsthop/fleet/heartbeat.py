"""Tells the others, each second, how this process does. Nothing waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import Callable
from typing import Final

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from firsthop import keyring
from firsthop.config import Settings
from firsthop.fleet.beat import SLOTS, TTL, Beat, BeatSeal
from firsthop.store.redis import StoreError, asking, client
from firsthop.tasks import cancel, raise_failure

log = structlog.get_logger()

_INTERVAL: Final = 1.0
#: Free slots that one is drawn from: those that start together seldom draw the same.
_CHOICE: Final = 16


class Heartbeat:
    """Reports of this process from `start` to `stop`, if the settings name a store and keys.

    Args:
        settings: `fleet.state` says where, `fleet.keys` under which keys.
        report: Returns what to tell; called on the loop.
    """

    def __init__(self, settings: Settings, report: Callable[[], Beat]) -> None:
        self._report = report
        self._instance = os.urandom(8)
        self._slot: int | None = None
        self._failing = False
        self._task: asyncio.Task[None] | None = None
        self._redis: Redis | None = None
        self._seal: BeatSeal | None = None
        keys = keyring.of_fleet(settings)
        if settings.fleet.state == "memory":
            return
        if keys is None:
            # An edge with nothing but edge keys: others ask it how it does.
            log.info("fleet.no_heartbeat", reason="no keys to seal under; see fleet.keys")
            return
        self._seal = BeatSeal(*keys)
        self._redis = client(settings.fleet.state, max_connections=2)

    def use(self, settings: Settings) -> None:
        """Seal under the keys of these settings from now on."""
        keys = keyring.of_fleet(settings)
        if self._seal is not None and keys is not None:
            self._seal.use(*keys)
            # Another key is another name, and the slot there may be taken.
            self._slot = None

    def start(self) -> None:
        """Begin to report, on the running loop."""
        if self._redis is not None:
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Report no more, and let the others know if the store takes it."""
        task, self._task = self._task, None
        if task is not None:
            raise_failure(await cancel(task))
        if self._redis is None or self._seal is None:
            return
        with contextlib.suppress(StoreError):
            async with asking():
                if self._slot is not None:
                    name = self._seal.name(self._report().place)
                    empty = bytes(self._seal.slot_bytes)
                    await self._redis.setrange(name, self._slot * len(empty), empty)
        with contextlib.suppress(StoreError):
            async with asking():
                await self._redis.aclose()

    async def beat(self) -> None:
        """Report once, now; that it cannot be done is logged."""
        if self._redis is None or self._seal is None:
            return
        try:
            async with asking():
                await self._beat(self._redis, self._seal)
        except StoreError as error:
            self._note(error.reason)
        else:
            self._note(None)

    async def _run(self) -> None:
        while True:
            await self.beat()
            await asyncio.sleep(_INTERVAL * random.uniform(0.95, 1.05))

    async def _beat(self, redis: Redis, seal: BeatSeal) -> None:
        beat, now = self._report(), time.time()
        name, size = seal.name(beat.place), seal.slot_bytes
        try:
            if self._slot is not None:
                start = self._slot * size
                mine = await redis.getrange(name, start, start + size - 1)
                if self._is_anothers(seal, name, beat, mine, now):
                    self._slot = None
            if self._slot is None:
                text = await redis.getrange(name, 0, SLOTS * size - 1)
                self._slot = self._free_slot(seal, name, beat, text, now)
        except ResponseError:
            # Something else under our name, which nobody can have put there by accident.
            await redis.delete(name)
            self._slot = 0
        pipeline = redis.pipeline(transaction=False)
        value = seal.close(name, self._instance, beat, now)
        pipeline.setrange(name, self._slot * size, value)
        pipeline.expire(name, TTL)
        await pipeline.execute()

    def _is_anothers(
        self, seal: BeatSeal, name: str, beat: Beat, slot: bytes | str, now: float
    ) -> bool:
        heard = seal.open(name, beat.place, slot) if isinstance(slot, bytes) else None
        return heard is not None and heard.instance != self._instance and heard.is_good(now)

    def _free_slot(
        self, seal: BeatSeal, name: str, beat: Beat, text: bytes | str, now: float
    ) -> int:
        taken = {
            number
            for number, slot in seal.slots(text if isinstance(text, bytes) else b"")
            if self._is_anothers(seal, name, beat, slot, now)
        }
        free = [number for number in range(SLOTS) if number not in taken]
        if not free:
            raise LookupError("no slot is free")
        return random.choice(free[:_CHOICE])

    def _note(self, problem: str | None) -> None:
        """Log when reports begin to fail, and when they get through again."""
        if problem is not None and not self._failing:
            log.warning("fleet.heartbeat_failed", reason=problem, effect="tried again each second")
        elif problem is None and self._failing:
            log.info("fleet.heartbeat_back")
        self._failing = problem is not None
