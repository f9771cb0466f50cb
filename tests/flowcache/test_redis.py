"""A real Redis: what relays see of each other through it, and how it may fail."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from typing import Any

import pytest
from redis.asyncio import Redis

from firsthop.flowcache.base import FlowCacheError
from firsthop.flowcache.redis import RedisFlowCache
from firsthop.flowcache.sealed import VALUE_BYTES, Seal
from redis_server import HOST, RedisServer

KEY, NEW_KEY = bytes(range(32)), bytes(range(32, 64))
NOW = 1_790_000_000


def mapped(address: str) -> bytes:
    return bytes(10) + b"\xff\xff" + IPv4Address(address).packed


CLIENT = "198.51.100.77"
FLOW = mapped(CLIENT) + (50_123).to_bytes(2) + bytes(2)
OTHER = mapped("198.51.100.78") + (50_123).to_bytes(2) + bytes(2)
OWNER = mapped("10.0.0.7") + (3500).to_bytes(2)


class Relay:
    """One relay's view of the cache."""

    def __init__(
        self,
        url: str,
        *,
        masters: dict[int, bytes] | None = None,
        key_id: int = 0,
        ttl_seconds: int = 90,
    ) -> None:
        self.garbage = 0
        self.now = NOW
        self.seal = Seal(masters or {0: KEY}, key_id, ttl_seconds=ttl_seconds)
        self.cache = RedisFlowCache(
            url, self.seal, now=lambda: self.now, count_garbage=self._count_garbage
        )

    def _count_garbage(self, amount: int) -> None:
        self.garbage += amount


@asynccontextmanager
async def relays(*made: Relay) -> AsyncIterator[tuple[Relay, ...]]:
    """Close the caches of relays at the end."""
    try:
        yield made
    finally:
        for relay in made:
            await relay.cache.close()


@pytest.fixture
async def relay(redis_server: RedisServer) -> AsyncIterator[Relay]:
    async with relays(Relay(redis_server.url)) as (relay,):
        yield relay


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    """Yield who reads and writes what Redis holds."""
    client = Redis.from_url(redis_server.url)
    yield client
    await client.aclose()


# What relays see.


async def test_relays_with_the_same_key_see_each_others_flows(redis_server: RedisServer) -> None:
    async with relays(Relay(redis_server.url), Relay(redis_server.url)) as (one, other):
        await one.cache.keep([(FLOW, OWNER), (OTHER, OWNER[::-1])])
        assert await other.cache.find([FLOW, OTHER]) == {FLOW: OWNER, OTHER: OWNER[::-1]}
        await other.cache.drop([FLOW])
        assert await one.cache.find([FLOW, OTHER]) == {OTHER: OWNER[::-1]}
        assert one.garbage == other.garbage == 0


async def test_the_newest_owner_counts(relay: Relay) -> None:
    await relay.cache.keep([(FLOW, OWNER)])
    await relay.cache.keep([(FLOW, OWNER[::-1])])
    assert await relay.cache.find([FLOW]) == {FLOW: OWNER[::-1]}


async def test_relays_of_other_clusters_see_nothing(redis_server: RedisServer) -> None:
    foreign = Relay(redis_server.url, masters={0: NEW_KEY})
    async with relays(Relay(redis_server.url), foreign) as (one, other):
        await one.cache.keep([(FLOW, OWNER)])
        assert await other.cache.find([FLOW]) == {}
        await other.cache.drop([FLOW])
        assert await one.cache.find([FLOW]) == {FLOW: OWNER}


async def test_redis_forgets_by_itself(redis_server: RedisServer, redis: Redis) -> None:
    async with relays(Relay(redis_server.url, ttl_seconds=1)) as (relay,):
        await relay.cache.keep([(FLOW, OWNER)])
        while await redis.dbsize():
            pass
        assert await relay.cache.find([FLOW]) == {}


async def test_every_entry_has_a_time_to_live(relay: Relay, redis: Redis) -> None:
    await relay.cache.keep([(FLOW, OWNER), (OTHER, OWNER)])
    for name in await redis.keys():
        assert 0 < await redis.ttl(name) <= 90


async def test_while_keys_change_nothing_is_lost(redis_server: RedisServer) -> None:
    both = {0: KEY, 1: NEW_KEY}
    made = (
        Relay(redis_server.url),
        Relay(redis_server.url, masters=both, key_id=0),
        Relay(redis_server.url, masters=both, key_id=1),
        Relay(redis_server.url, masters={1: NEW_KEY}, key_id=1),
    )
    async with relays(*made) as (before, learning, switched, after):
        await before.cache.keep([(FLOW, OWNER)])
        assert await switched.cache.find([FLOW]) == {FLOW: OWNER}
        await switched.cache.keep([(OTHER, OWNER)])
        assert await learning.cache.find([OTHER]) == {OTHER: OWNER}
        assert await after.cache.find([OTHER]) == {OTHER: OWNER}
        await switched.cache.drop([FLOW])
        assert await before.cache.find([FLOW]) == {}, "gone under its old name too"
        assert [relay.garbage for relay in made] == [0, 0, 0, 0]


async def test_a_connection_made_ahead_is_the_one_that_the_next_look_up_uses(
    relay: Relay, redis: Redis
) -> None:
    await redis.ping()
    before = len(await redis.client_list())
    await relay.cache.connect()
    assert len(await redis.client_list()) == before + 1
    await relay.cache.find([FLOW])
    assert len(await redis.client_list()) == before + 1


# What others see.


async def test_a_dump_shows_neither_client_nor_transceiver(relay: Relay, redis: Redis) -> None:
    clients = [f"198.51.100.{number}" for number in range(100)]
    flows = [mapped(client) + (50_123).to_bytes(2) + bytes(2) for client in clients]
    await relay.cache.keep([(flow, OWNER) for flow in flows])
    # Typed as text or bytes: which, depends on how the client was made.
    names: list[Any] = await redis.keys()
    assert len(names) == len(flows)
    values: list[Any] = await redis.mget(names)
    dump = b"\n".join([*names, *values])
    for address in [*clients, "10.0.0.7"]:
        packed = IPv4Address(address).packed
        for form in (address.encode(), packed, packed.hex().encode(), packed[::-1]):
            assert form not in dump
    assert not any(name.endswith(FLOW.hex().encode()) for name in names)


def test_no_error_names_the_server_or_its_password() -> None:
    with socket.socket() as nobody:
        nobody.bind((HOST, 0))
        relay = Relay(f"redis://:swordfish@{HOST}:{nobody.getsockname()[1]}")
        with pytest.raises(FlowCacheError) as error:
            asyncio.run(relay.cache.find([FLOW]))
    assert HOST not in str(error.value)
    assert "swordfish" not in str(error.value)
    assert error.value.__suppress_context__


# What is not to be trusted.


@pytest.mark.parametrize(
    "value",
    [b"", b"\x00", b"garbage", bytes(VALUE_BYTES), bytes(VALUE_BYTES + 1), b"x" * 10_000_000],
    ids=["nothing", "zero", "text", "zeros", "long", "huge"],
)
async def test_garbage_is_a_miss_and_counted(relay: Relay, redis: Redis, value: bytes) -> None:
    await relay.cache.keep([(OTHER, OWNER)])
    await redis.set(relay.seal.name(FLOW), value)
    assert await relay.cache.find([FLOW, OTHER]) == {OTHER: OWNER}
    assert relay.garbage == (1 if value else 0)


async def test_a_value_of_another_kind_is_a_miss_and_counted(relay: Relay, redis: Redis) -> None:
    await relay.cache.keep([(OTHER, OWNER)])
    name = relay.seal.name(FLOW)
    await redis.hset(name, "a", "hash")
    assert await relay.cache.find([FLOW, OTHER]) == {OTHER: OWNER}
    assert relay.garbage == 1


async def test_a_value_copied_from_another_flow_is_a_miss_and_counted(
    relay: Relay, redis: Redis
) -> None:
    await relay.cache.keep([(OTHER, OWNER)])
    await redis.copy(relay.seal.name(OTHER), relay.seal.name(FLOW))
    assert await relay.cache.find([FLOW]) == {}
    assert relay.garbage == 1


async def test_a_value_brought_back_after_its_time_is_a_miss_and_counted(
    relay: Relay, redis: Redis
) -> None:
    await relay.cache.keep([(FLOW, OWNER)])
    await redis.persist(relay.seal.name(FLOW))
    relay.now += 90 + 31
    assert await relay.cache.find([FLOW]) == {}
    assert relay.garbage == 1


# How it may fail.


async def test_a_redis_that_was_restarted_is_used_again(
    redis_server: RedisServer, relay: Relay
) -> None:
    await relay.cache.keep([(FLOW, OWNER)])
    redis_server.kill()
    with pytest.raises(FlowCacheError):
        await relay.cache.connect()
    with pytest.raises(FlowCacheError):
        await relay.cache.find([FLOW])
    with pytest.raises(FlowCacheError):
        await relay.cache.keep([(FLOW, OWNER)])
    redis_server.start()
    assert await relay.cache.find([FLOW]) == {}, "it keeps nothing"
    await relay.cache.keep([(FLOW, OWNER)])
    assert await relay.cache.find([FLOW]) == {FLOW: OWNER}


async def test_a_redis_that_stands_still_fails_in_the_end(
    redis_server: RedisServer, relay: Relay
) -> None:
    await relay.cache.keep([(FLOW, OWNER)])
    redis_server.pause()
    with pytest.raises(FlowCacheError):
        await relay.cache.find([FLOW])
    redis_server.resume()
    assert await relay.cache.find([FLOW]) == {FLOW: OWNER}


async def test_answers_to_questions_that_were_given_up_are_not_taken_for_others(
    redis_server: RedisServer, relay: Relay
) -> None:
    await relay.cache.keep([(FLOW, OWNER), (OTHER, OWNER[::-1])])
    redis_server.pause()
    for _ in range(20):
        task = asyncio.create_task(relay.cache.find([FLOW]))
        await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait({task})
    redis_server.resume()
    for _ in range(20):
        assert await relay.cache.find([OTHER]) == {OTHER: OWNER[::-1]}
    assert relay.garbage == 0


async def test_a_wrong_password_is_a_failure(redis_server: RedisServer) -> None:
    url = redis_server.url.replace(redis_server.password, "sardine")
    async with relays(Relay(url)) as (relay,):
        with pytest.raises(FlowCacheError) as error:
            await relay.cache.find([FLOW])
        assert error.value.reason == "AuthenticationError"
        assert "sardine" not in str(error.value)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00" * 4096,
        b"\xff\xfe\r\n" * 100,
        b"*-5\r\n" * 10,
        b"*99999999999999999999\r\n",
        b"$-7\r\n",
        b"$x\r\n",
        b":\r\n",
        b"-\r\n",
        b"*1\r\n" * 5000,
        b"+OK\r\n",
        b"",
        random.Random(7).randbytes(4096),
    ],
    ids=lambda answer: repr(answer[:12]),
)
async def test_a_server_that_is_no_redis_is_a_failure_or_a_miss(answer: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(talk, HOST, 0)
    async with server, relays(Relay(f"redis://{HOST}:{_port(server)}")) as (relay,):
        for _ in range(2):
            try:
                assert await relay.cache.find([FLOW]) == {}
            except FlowCacheError:
                continue


def _port(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])
