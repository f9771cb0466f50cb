"""Calls of a transceiver to itself, all of it real, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from e2e.waiting import until
from firsthop._native import CallerReport, Callers, Relay
from firsthop.backends.mirror import MirrorBackend
from firsthop.config import Settings, TransceiverSettings
from firsthop.telemetry.metrics import Metrics
from firsthop.transceiver import owncall
from firsthop.transceiver.engine import EngineLoop
from firsthop.transceiver.owncall import OwnCallError, OwnCalls
from firsthop.transceiver.service import TransceiverService

KEY, OTHER = "ab" * 32, "cd" * 32


def ports(count: int) -> int:
    """The first of as many ports in a row that were free just now."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        first.bind(("127.0.0.1", 0))
        port = int(first.getsockname()[1])
        for more in range(1, count):
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).bind(
                ("127.0.0.1", port + more)
            )
    return port


def settings(keys: dict[int, str] | None = None, **transceiver: Any) -> Settings:
    values = {"listen": "127.0.0.1:0", "cluster": 7, **transceiver}
    return Settings(keys=keys or {0: KEY}, transceiver=TransceiverSettings(**values))


@asynccontextmanager
async def engine(settings: Settings) -> AsyncIterator[EngineLoop]:
    loop = EngineLoop(settings)
    loop.start()
    try:
        yield loop
    finally:
        loop.stop()


@pytest.mark.parametrize(
    "transceiver",
    [
        {},
        {"listen": "0.0.0.0:0", "reachable_ip": "127.0.0.1"},
        {"listen": "127.0.0.1:0", "direct": True, "advertise": ["127.0.0.1:9"]},
        {"listen": "[::1]:0"},
        {"listen": "[::]:0", "reachable_ip": "::1"},
        {"shards": 3},
    ],
    ids=["plain", "anywhere", "direct", "ipv6", "ipv6_anywhere", "shards"],
)
async def test_a_transceiver_reaches_itself(transceiver: dict[str, Any]) -> None:
    if "shards" in transceiver:
        transceiver["listen"] = f"127.0.0.1:{ports(transceiver['shards'])}"
    own = settings(**transceiver)
    async with engine(own) as loop:
        calls = OwnCalls(loop)
        assert calls.possible()
        assert await calls.place(own) > 0
        assert calls.sessions == 0
        assert loop.engine.counters()["sessions"] == 0
        assert await calls.place(own) > 0, "and again"


async def test_nothing_is_dropped_but_what_comes_after_the_goodbye() -> None:
    own = settings()
    async with engine(own) as loop:
        for _ in range(5):
            await OwnCalls(loop).place(own)
        counters = loop.engine.counters()
    dropped = {name for name, count in counters.items() if "dropped" in name and count}
    assert dropped <= {"dropped_unknown_session"}


async def test_keys_may_change_from_call_to_call() -> None:
    own = settings()
    async with engine(own) as loop:
        calls = OwnCalls(loop)
        await calls.place(own)
        both = own.model_copy(update={"keys": {0: KEY, 1: OTHER}, "key_id": 1})
        loop.set_keys(both.key_bytes(), 1)
        await calls.place(both)
        loop.set_keys({1: bytes.fromhex(OTHER)}, 1)
        await calls.place(both.model_copy(update={"keys": {1: OTHER}}))


async def test_keys_that_do_not_fit_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owncall, "PATIENCE", 0.2)
    async with engine(settings()) as loop:
        calls = OwnCalls(loop)
        with pytest.raises(OwnCallError, match=r"no answer to ICE .*token_tag.* within 0.2 s"):
            await calls.place(settings({0: OTHER}))
        with pytest.raises(OwnCallError, match="key_id: 1 is not among keys"):
            await calls.place(settings().model_copy(update={"key_id": 1}))
        await loop_is_empty(loop, calls)


class Report:
    """How far a client got."""

    def __init__(self, *stages: str) -> None:
        self.stages_ms = dict.fromkeys(stages, 1.0)


class DroppingRelay:
    """A relay that has dropped packets for some reasons."""

    def __init__(self, *reasons: str) -> None:
        self._reasons = reasons

    def counters(self) -> dict[str, int]:
        """Count each once."""
        return {"flows": 1, "dropped_hop_mac": 0} | {f"dropped_{it}": 1 for it in self._reasons}


@pytest.mark.parametrize(
    ("report", "relay", "missing"),
    [
        (Report(), DroppingRelay(), "no answer to ICE"),
        (Report(), DroppingRelay("no_session"), "no answer to ICE (the relay drops: no_session)"),
        (Report("ice"), DroppingRelay(), "no answer to DTLS"),
        (Report("ice", "connected"), DroppingRelay(), "no sound came back"),
    ],
    ids=["nothing", "dropped", "ice", "connected"],
)
def test_how_far_it_got_is_told(report: Report, relay: DroppingRelay, missing: str) -> None:
    assert owncall._missing(cast(CallerReport, report), cast(Relay, relay)) == missing


async def test_a_machine_without_sockets_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    own = settings()
    async with engine(own) as loop:
        monkeypatch.setattr(owncall, "Relay", refuse)
        with pytest.raises(OwnCallError, match="no socket or thread for it: Too many open files"):
            await OwnCalls(loop).place(own)


async def test_an_address_that_only_others_know_cannot_be_called_from_here() -> None:
    async with engine(settings(listen="0.0.0.0:0", reachable_ip="192.0.2.1")) as loop:
        assert not OwnCalls(loop).possible()


async def test_an_engine_that_does_not_run_is_told() -> None:
    with pytest.raises(OwnCallError, match="not running"):
        await OwnCalls(EngineLoop(settings())).place(settings())


async def loop_is_empty(loop: EngineLoop, calls: OwnCalls) -> None:
    """Wait until the engine has closed what was hung up on."""
    await until(lambda: not calls.sessions, "all of ours are closed")
    await until(lambda: not loop.engine.counters()["sessions"], "there are no others")


# As part of a transceiver.


@asynccontextmanager
async def transceiver(own: Settings, metrics: Metrics) -> AsyncIterator[TransceiverService]:
    service = TransceiverService(own, metrics, MirrorBackend())
    service.start()
    try:
        yield service
    finally:
        await service.stop()


async def until_ready(service: TransceiverService) -> None:
    await until(lambda: service.problem() is None, "it is ready", every=0.005)


async def test_a_transceiver_is_ready_once_it_has_reached_itself() -> None:
    metrics = Metrics()
    async with transceiver(settings(), metrics) as service:
        assert service.problem() == "loopback: not tried yet"
        await until_ready(service)
        assert len(service.calls) == 0
        assert service.beat().sessions == 0
        told = metrics.render().decode()
    assert "firsthop_transceiver_sessions 0.0" in told
    assert "firsthop_transceiver_setup_seconds_count 0.0" in told
    assert "firsthop_transceiver_calls_ended_total{" not in told
    assert "firsthop_transceiver_loopback_failures_total 0.0" in told


async def test_a_transceiver_that_is_full_reaches_itself_and_takes_nobody_else() -> None:
    own = settings(max_sessions=1)
    async with transceiver(own, Metrics()) as service:
        await until_ready(service)
        callers = Callers(local="127.0.0.1", threads=1, sound=[], marks=[], channel=None)
        try:
            _, offer = callers.offer(talks=False)
            service.calls.open(offer)
            assert service.problem() == "full"
            assert await service._own_calls.place(own) > 0
        finally:
            await asyncio.to_thread(callers.stop)


async def test_a_transceiver_that_cannot_reach_itself_says_so_and_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(owncall, "Relay", refuse)
    async with transceiver(settings(), Metrics()) as service:
        untried = "loopback: not tried yet"
        await until(lambda: service.problem() != untried, "it was tried", every=0.005)
        assert service.problem() == "loopback: no socket or thread for it: Too many open files"


@pytest.mark.parametrize(
    "own",
    [
        {"loopback": False},
        {"listen": "0.0.0.0:0", "reachable_ip": "192.0.2.1"},
    ],
    ids=["turned_off", "translated"],
)
async def test_a_transceiver_that_need_not_or_cannot_know_is_ready_at_once(
    own: dict[str, Any],
) -> None:
    async with transceiver(settings(**own), Metrics()) as service:
        assert service.problem() is None
