"""Redis as a store. The only file that makes its client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from firsthop.errors import FirsthopError

#: How long one command may take, with connecting first if need be, in seconds.
PATIENCE: Final = 1.0


def client(url: str, max_connections: int) -> Redis:
    """Return a client that gives up early. Connects to nothing yet.

    Args:
        url: ``redis://`` or ``rediss://``, checked by the settings.
        max_connections: At the same time.
    """
    redis: Redis = Redis.from_url(
        url,
        protocol=2,
        max_connections=max_connections,
        socket_timeout=PATIENCE,
        socket_connect_timeout=PATIENCE,
        # A command that failed is not worth another try: what it was for is over by then.
        retry=Retry(NoBackoff(), 0),
        # Spares a new connection a round trip.
        driver_info=None,
    )
    return redis


class StoreError(FirsthopError):
    """The store could not be asked.

    Args:
        reason: What kind of failure it was, in a word that names no address and no password.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"the store failed: {reason}")
        self.reason = reason


@asynccontextmanager
async def asking(failed: Callable[[str], Exception] = StoreError) -> AsyncIterator[None]:
    """Bound what is done within in time, and turn whatever goes wrong into one kind of error.

    Args:
        failed: Makes it, given a word for the reason.
    """
    try:
        async with asyncio.timeout(PATIENCE):
            yield
    except Exception as error:
        # Not only `RedisError`: bytes that are no Redis' make the client raise anything. The kind
        # is told and the text is not, for it names the server.
        raise failed(type(error).__name__) from None
