"""Callers, called upon: a transceiver of our own answers them."""

from __future__ import annotations

import os
from typing import Any

import pytest

from firsthop.bench.errors import BenchError
from firsthop.bench.isolation import Isolation
from firsthop.bench.media.crowd import gathered
from firsthop.bench.media.servers import Echo, Firsthop
from firsthop.load import sound

CORE = min(os.sched_getaffinity(0))
WHERE = Isolation(core=CORE, other_core=None, realtime=False, notes=())
HOST = "127.0.0.1"


@pytest.fixture(scope="module", params=["pcm", "packets"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    echo: Echo = request.param
    server = Firsthop(CORE, HOST, echo, tmp_path_factory.mktemp(echo))
    try:
        server.start()
        yield server
    finally:
        server.stop()


def test_what_callers_say_comes_back_and_is_counted(server: Firsthop) -> None:
    with gathered(server, sound.built_in(), WHERE, HOST) as crowd:
        crowd.join(1)
        crowd.join(3)
        seen = crowd.measure(0.5)
    assert (seen.sessions, seen.connected) == (3, 3)
    assert seen.received > 0
    assert sum(seen.gaps) > 0
    assert seen.cpu_s > 0
    assert seen.resident_bytes > 1e6


def test_those_who_are_idle_say_nothing(server: Firsthop) -> None:
    with gathered(server, sound.built_in(), WHERE, HOST) as crowd:
        crowd.join(2, talk=False)
        seen = crowd.measure(0.2)
    assert (seen.connected, seen.sent, seen.received) == (2, 0, 0)


def test_a_call_that_is_refused_is_told(server: Firsthop) -> None:
    with pytest.raises(BenchError, match="firsthop refused a call: 400 "):
        server.place("v=0")
