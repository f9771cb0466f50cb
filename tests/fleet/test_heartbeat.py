"""Heartbeats through a real Redis: who hears whom, and how it may fail."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
import structlog
from redis.asyncio import Redis

from firsthop import keyring
from firsthop.config import FleetSettings, Settings
from firsthop.fleet.beat import SLOTS, Beat, BeatSeal, Place
from firsthop.fleet.heartbeat import Heartbeat
from firsthop.fleet.listening import Listening
from firsthop.store.redis import StoreError
from redis_server import RedisServer

KEY, NEW_KEY = "ab" * 32, "cd" * 32
FRANKFURT, SYDNEY = Place("cluster", 1), Place("cluster", 2)
EDGE = Place("ingress", 7)
PLACES = [FRANKFURT, SYDNEY, EDGE]


def settings(url: str, keys: dict[int, str] | None = None, key_id: int = 0) -> Settings:
    return Settings(fleet=FleetSettings(state=url, keys=keys or {0: KEY}, key_id=key_id))


class World:
    """Processes that report by one Redis, and one that listens."""

    def __init__(self, url: str, stack: AsyncExitStack) -> None:
        self.url = url
        self.garbage = 0
        self._stack = stack
        self.listening = self.listener()

    def listener(self, keys: dict[int, str] | None = None, key_id: int = 0) -> Listening:
        ring = keyring.of_fleet(settings(self.url, keys, key_id))
        assert ring is not None
        made = Listening(self.url, ring, self._count)
        self._stack.push_async_callback(made.close)
        return made

    def process(self, beat: Beat, **keys: Any) -> Heartbeat:
        made = Heartbeat(settings(self.url, **keys), lambda: beat)
        self._stack.push_async_callback(made.stop)
        return made

    def _count(self, amount: int) -> None:
        self.garbage += amount


@pytest.fixture
async def world(redis_server: RedisServer) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield World(redis_server.url, stack)


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    """Yield who reads and writes what Redis holds."""
    client = Redis.from_url(redis_server.url)
    yield client
    await client.aclose()


async def held(redis: Redis, name: str | bytes) -> bytes:
    value = await redis.get(name)
    assert isinstance(value, bytes)
    return value


async def only_name(redis: Redis) -> str:
    [name] = await redis.keys()
    return name.decode() if isinstance(name, bytes) else name


async def test_all_that_report_are_heard_each_for_its_place(world: World) -> None:
    for beat in (
        Beat(FRANKFURT, 10, 200),
        Beat(FRANKFURT, 30, 200, draining=True),
        Beat(SYDNEY, 5, None),
        Beat(EDGE),
    ):
        await world.process(beat).beat()
    heard = await world.listening.read(PLACES)
    assert {beat.sessions for beat in heard[FRANKFURT]} == {10, 30}
    assert [beat.draining for beat in heard[FRANKFURT]].count(True) == 1
    assert heard[SYDNEY] == [Beat(SYDNEY, 5, None)]
    assert heard[EDGE] == [Beat(EDGE)]
    assert world.garbage == 0


async def test_many_processes_of_a_cluster_have_a_slot_each(world: World) -> None:
    processes = [world.process(Beat(FRANKFURT, number)) for number in range(40)]
    # The first beats all find the same slots free; who finds another's in its own takes another.
    for _ in range(8):
        await asyncio.gather(*(process.beat() for process in processes))
    heard = await world.listening.read([FRANKFURT])
    assert {beat.sessions for beat in heard[FRANKFURT]} == set(range(40))


async def test_a_process_that_stops_is_gone_at_once(world: World) -> None:
    process = world.process(Beat(FRANKFURT, 1))
    await process.beat()
    assert (await world.listening.read([FRANKFURT]))[FRANKFURT]
    await process.stop()
    assert not (await world.listening.read([FRANKFURT]))[FRANKFURT]


async def test_redis_forgets_by_itself_and_learns_no_place(world: World, redis: Redis) -> None:
    await world.process(Beat(FRANKFURT, 1)).beat()
    name = await only_name(redis)
    assert 0 < await redis.ttl(name) <= 5
    assert "cluster" not in name
    assert b"cluster" not in await held(redis, name)


async def test_others_keys_hear_nothing(world: World) -> None:
    await world.process(Beat(FRANKFURT, 1)).beat()
    other = world.listener({0: NEW_KEY})
    assert await other.read([FRANKFURT]) == {FRANKFURT: []}


async def test_while_keys_change_nobody_is_lost(world: World) -> None:
    both = {0: KEY, 1: NEW_KEY}
    old = world.process(Beat(FRANKFURT, 1), keys=both)
    new = world.process(Beat(FRANKFURT, 2), keys=both, key_id=1)
    await old.beat()
    await new.beat()
    for key_id in both:
        heard = await world.listener(both, key_id).read([FRANKFURT])
        assert {beat.sessions for beat in heard[FRANKFURT]} == {1, 2}
    old.use(settings(world.url, both, 1))
    await old.beat()
    heard = await world.listener({1: NEW_KEY}, 1).read([FRANKFURT])
    assert {beat.sessions for beat in heard[FRANKFURT]} == {1, 2}


async def test_without_a_store_or_keys_nothing_is_reported() -> None:
    for quiet in (Settings(), Settings(fleet=FleetSettings(state="redis://127.0.0.1:1"))):
        heartbeat = Heartbeat(quiet, lambda: Beat(FRANKFURT))
        heartbeat.start()
        await heartbeat.beat()
        await heartbeat.stop()
    assert len(asyncio.all_tasks()) == 1


async def test_a_running_heartbeat_reports_by_itself(world: World) -> None:
    process = world.process(Beat(FRANKFURT, 3))
    process.start()
    while not (await world.listening.read([FRANKFURT]))[FRANKFURT]:
        pass


async def test_a_report_says_how_it_is_now(world: World) -> None:
    beat = Beat(FRANKFURT, 0)
    process = Heartbeat(settings(world.url), lambda: beat)
    await process.beat()
    beat = replace(beat, sessions=9)
    await process.beat()
    [heard] = (await world.listener().read([FRANKFURT]))[FRANKFURT]
    assert heard.sessions == 9
    await process.stop()


# How it may fail.


async def test_a_redis_that_is_killed_is_logged_once_and_found_again(
    world: World, redis_server: RedisServer
) -> None:
    process = world.process(Beat(FRANKFURT, 1))
    await process.beat()
    redis_server.kill()
    with structlog.testing.capture_logs() as logs:
        await process.beat()
        await process.beat()
        with pytest.raises(StoreError):
            await world.listening.read([FRANKFURT])
        redis_server.start()
        await process.beat()
    assert [line["event"] for line in logs] == ["fleet.heartbeat_failed", "fleet.heartbeat_back"]
    assert redis_server.password not in repr(logs)
    assert (await world.listening.read([FRANKFURT]))[FRANKFURT]


async def test_a_redis_that_stands_still_is_given_up_and_goes_on_when_it_does(
    world: World, redis_server: RedisServer
) -> None:
    process = world.process(Beat(FRANKFURT, 1))
    await process.beat()
    redis_server.pause()
    try:
        with structlog.testing.capture_logs() as logs:
            reading = asyncio.create_task(world.listening.read([FRANKFURT]))
            await process.beat()
            with pytest.raises(StoreError):
                await reading
        assert [line["event"] for line in logs] == ["fleet.heartbeat_failed"]
    finally:
        redis_server.resume()
    await process.beat()
    assert (await world.listening.read([FRANKFURT]))[FRANKFURT]


async def _random_bytes(redis: Redis, name: str) -> None:
    await redis.set(name, random.Random(7).randbytes(100_000))


async def _a_list(redis: Redis, name: str) -> None:
    await redis.delete(name)
    await redis.rpush(name, *range(50))


async def _a_huge_value(redis: Redis, name: str) -> None:
    await redis.setrange(name, 50_000_000, b"x")


async def _half_a_slot(redis: Redis, name: str) -> None:
    await redis.set(name, (await held(redis, name))[:20])


@pytest.mark.parametrize("spoil", [_random_bytes, _a_list, _a_huge_value, _half_a_slot])
async def test_garbage_under_our_names_costs_a_beat_at_most(
    world: World, redis: Redis, spoil: Callable[[Redis, str], Any]
) -> None:
    process = world.process(Beat(FRANKFURT, 4))
    await process.beat()
    await spoil(redis, await only_name(redis))
    assert len((await world.listening.read(PLACES))[FRANKFURT]) <= 1
    with structlog.testing.capture_logs() as logs:
        await process.beat()
    assert logs == []
    assert (await world.listening.read(PLACES))[FRANKFURT] == [Beat(FRANKFURT, 4)]


async def test_garbage_is_counted_when_it_is_new(world: World, redis: Redis) -> None:
    seal = BeatSeal({0: bytes.fromhex(KEY)}, 0)
    await redis.set(seal.name(FRANKFURT), b"x" * seal.slot_bytes * 3)
    await world.listening.read([FRANKFURT])
    assert world.garbage == 1, "three times the same"
    await world.listening.read([FRANKFURT])
    assert world.garbage == 1


async def test_what_another_cluster_wrote_is_not_taken_for_ones_own_slot(
    world: World, redis: Redis
) -> None:
    """A slot copied from one place to another opens nowhere."""
    await world.process(Beat(SYDNEY, 9)).beat()
    name = await only_name(redis)
    await redis.copy(name, BeatSeal({0: bytes.fromhex(KEY)}, 0).name(FRANKFURT))
    heard = await world.listening.read(PLACES)
    assert (len(heard[FRANKFURT]), len(heard[SYDNEY])) == (0, 1)


async def test_a_place_that_is_full_is_logged_and_the_process_goes_on(
    world: World, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firsthop.fleet.heartbeat.SLOTS", 1)
    assert SLOTS > 1
    await world.process(Beat(FRANKFURT, 1)).beat()
    with structlog.testing.capture_logs() as logs:
        await world.process(Beat(FRANKFURT, 2)).beat()
    assert [line["reason"] for line in logs] == ["LookupError"]


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 OK\r\n\r\n", b"+" * 70_000, b"*9999999\r\n", b""]
)
async def test_a_server_that_is_no_redis_ends_nothing(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, AsyncExitStack() as stack:
        world = World(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", stack)
        process = world.process(Beat(FRANKFURT, 1))
        with structlog.testing.capture_logs() as logs:
            await process.beat()
        assert [line["event"] for line in logs] == ["fleet.heartbeat_failed"]
        with pytest.raises(StoreError):
            await world.listening.read([FRANKFURT])
