"""A flow cache that relays share, in Redis.

What the server sends is not trusted: whatever the client makes of it, the outcome is owners that
were sealed by a relay of ours, or `FlowCacheError`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from firsthop.flowcache.base import Flow, FlowCacheError, Owner
from firsthop.flowcache.sealed import VALUE_BYTES, Seal
from firsthop.store.redis import asking, client

#: Look-ups at the same time, the writer, and some that are being given up.
_MAX_CONNECTIONS: Final = 16


class RedisFlowCache:
    """Keeps flows in one Redis database, each under a TTL.

    Args:
        url: ``redis://`` or ``rediss://``, checked by the settings.
        seal: Names and seals the entries, and knows how long they live.
        now: The wall clock, in Unix seconds.
        count_garbage: Told how many values were found that do not open.
    """

    def __init__(
        self,
        url: str,
        seal: Seal,
        *,
        now: Callable[[], float],
        count_garbage: Callable[[int], None],
    ) -> None:
        self._seal = seal
        self._now = now
        self._count_garbage = count_garbage
        self._redis = client(url, _MAX_CONNECTIONS)

    def use(self, masters: Mapping[int, bytes], key_id: int) -> None:
        """Seal under other keys from now on."""
        self._seal.use(masters, key_id)

    async def connect(self) -> None:
        """Make a connection, and keep it for the next command."""
        async with asking(FlowCacheError):
            await self._redis.ping()

    async def keep(self, entries: Sequence[tuple[Flow, Owner]]) -> None:
        """Write entries, in one round trip."""
        async with asking(FlowCacheError):
            pipeline = self._redis.pipeline(transaction=False)
            for flow, owner in entries:
                name = self._seal.name(flow)
                value = self._seal.seal(name, owner, self._now())
                pipeline.set(name, value, ex=self._seal.ttl_seconds)
            await pipeline.execute()

    async def drop(self, flows: Sequence[Flow]) -> None:
        """Delete entries, in one round trip."""
        async with asking(FlowCacheError):
            await self._redis.delete(*(name for flow in flows for name in self._seal.names(flow)))

    async def find(self, flows: Collection[Flow]) -> dict[Flow, Owner]:
        """Read entries, in one round trip."""
        asked = [(flow, name) for flow in flows for name in self._seal.names(flow)]
        async with asking(FlowCacheError):
            pipeline = self._redis.pipeline(transaction=False)
            for _, name in asked:
                # Not MGET: one byte more than a value of ours is all that we are willing to read.
                pipeline.getrange(name, 0, VALUE_BYTES)
            answers = await pipeline.execute(raise_on_error=False)
            return self._opened(asked, answers)

    async def close(self) -> None:
        """Close all connections; a server that does not want to part is left standing."""
        with suppress(FlowCacheError):
            async with asking(FlowCacheError):
                await self._redis.aclose()

    def _opened(self, asked: Sequence[tuple[Flow, str]], answers: list[Any]) -> dict[Flow, Owner]:
        now, found, garbage = self._now(), dict[Flow, Owner](), 0
        for (flow, name), answer in zip(asked, answers, strict=True):
            if answer == b"":
                continue
            owner = self._seal.open(name, answer, now) if isinstance(answer, bytes) else None
            if owner is None:
                garbage += 1
            else:
                # Under our own key's name, which comes first, if under several.
                found.setdefault(flow, owner)
        self._count_garbage(garbage)
        return found
