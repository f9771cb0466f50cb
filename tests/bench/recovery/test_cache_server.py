"""Ways to break a Redis."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from firsthop.bench.isolation import Isolation
from firsthop.bench.recovery.cache_server import RedisServer, SlowProxy

ISOLATION = Isolation(core=0, other_core=None, realtime=False, notes=())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path, ISOLATION)
    try:
        server.wait_until_it_answers()
        yield server
    finally:
        server.kill()


def test_garbage_takes_the_place_of_flows_and_of_nothing_else(server: RedisServer) -> None:
    with Redis.from_url(server.url(server.endpoint)) as client:
        client.set("firsthop:flow:1", b"x" * 56, ex=60)
        client.set("other", b"kept")
        server.fill_with_garbage()
        garbage = client.get("firsthop:flow:1")
        assert isinstance(garbage, bytes)
        assert len(garbage) == 56
        assert garbage != b"x" * 56
        assert client.ttl("firsthop:flow:1") > 0
        assert client.get("other") == b"kept"


def test_a_killed_server_answers_nobody(server: RedisServer) -> None:
    with Redis.from_url(server.url(server.endpoint)) as client:
        assert client.ping()
        server.kill()
        with pytest.raises(RedisError):
            client.ping()


def test_a_proxy_passes_answers_on_and_keeps_them_back_when_told(server: RedisServer) -> None:
    proxy = SlowProxy(server.endpoint)
    try:
        with Redis.from_url(server.url(proxy.endpoint)) as client:
            assert client.ping()
            proxy.delay_seconds = 0.05
            asked = time.monotonic()
            assert client.ping()
            # A lower bound, which no busy machine can break.
            assert time.monotonic() - asked >= 0.05
    finally:
        proxy.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((socket.inet_ntoa(proxy.endpoint.ip), proxy.endpoint.port))
