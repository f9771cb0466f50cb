"""The view of the fleet, and what stays of it when its sources fail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml

from firsthop.config import FleetSettings, Settings
from firsthop.errors import ConfigError
from firsthop.fleet.beat import Beat, Place
from firsthop.fleet.heartbeat import Heartbeat
from firsthop.fleet.observer import Observer
from firsthop.fleet.view import ClusterState, View
from firsthop.telemetry.metrics import Metrics
from redis_server import RedisServer

KEY = "ab" * 32
FRANKFURT, SYDNEY = Place("cluster", 1), Place("cluster", 2)
FLEET: dict[str, Any] = {
    "clusters": [
        {"id": 1, "name": "fra", "location": [50.1, 8.7], "networks": ["10.1.0.0/16"]},
        {
            "id": 2,
            "name": "syd",
            "location": [-33.9, 151.2],
            "networks": ["10.2.0.0/16"],
            "capacity": 50,
        },
    ],
    "ingresses": [{"id": 1, "name": "fra", "location": [50.1, 8.7], "udp": ["203.0.113.10:3478"]}],
}


@pytest.fixture
def fleet_file(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.yaml"
    write(path, FLEET)
    return path


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


def write(path: Path, fleet: Any) -> None:
    path.write_text(fleet if isinstance(fleet, str) else yaml.safe_dump(fleet))


def settings(path: Path | None, state: str = "memory", keys: bool = True) -> Settings:
    file = None if path is None else str(path)
    return Settings(fleet=FleetSettings(file=file, state=state, keys={0: KEY} if keys else {}))


def observer(stack: AsyncExitStack, settings: Settings, metrics: Metrics | None = None) -> Observer:
    made = Observer(settings, metrics or Metrics())
    stack.push_async_callback(made.stop)
    return made


def shown(metrics: Metrics) -> dict[str, float]:
    """The fleet's metrics."""
    lines = metrics.render().decode().splitlines()
    pairs = [line.rsplit(" ", 1) for line in lines if line.startswith("firsthop_fleet")]
    return {name: float(value) for name, value in pairs}


def test_of_whom_nothing_is_known_is_healthy_and_has_room() -> None:
    assert View().cluster(7).healthy
    assert View().cluster(7).has_room
    assert View().ingress(7).healthy


@pytest.mark.parametrize(
    ("state", "room"),
    [
        (ClusterState(sessions=9, capacity=10), True),
        (ClusterState(sessions=10, capacity=10), False),
        (ClusterState(sessions=10), True),
        (ClusterState(capacity=10), True),
        (ClusterState(sessions=0, capacity=10, draining=True), False),
    ],
)
def test_a_cluster_has_room_until_it_is_full_or_drains(state: ClusterState, room: bool) -> None:
    assert state.has_room == room


async def test_without_a_fleet_file_the_fleet_is_empty(stack: AsyncExitStack) -> None:
    watching = observer(stack, settings(None))
    await watching.look()
    assert watching.view.fleet.clusters == ()


def test_a_fleet_file_that_is_wrong_is_refused_at_the_start(fleet_file: Path) -> None:
    write(fleet_file, "clusters: 7")
    with pytest.raises(ConfigError, match="clusters"):
        Observer(settings(fleet_file), Metrics())


async def test_the_view_is_there_before_anybody_was_asked(
    stack: AsyncExitStack, fleet_file: Path
) -> None:
    view = observer(stack, settings(fleet_file)).view
    assert view.cluster(1) == ClusterState()
    assert view.cluster(2) == ClusterState(capacity=50)


async def test_a_file_that_changes_changes_the_view_and_one_that_is_wrong_does_not(
    stack: AsyncExitStack, fleet_file: Path
) -> None:
    watching = observer(stack, settings(fleet_file))
    write(fleet_file, FLEET | {"clusters": FLEET["clusters"][:1]})
    await watching.look()
    assert [cluster.id for cluster in watching.view.fleet.clusters] == [1]
    write(fleet_file, "clusters: 7")
    await watching.look()
    assert [cluster.id for cluster in watching.view.fleet.clusters] == [1]


async def test_who_does_not_answer_twice_is_down(stack: AsyncExitStack, fleet_file: Path) -> None:
    dead = "http://127.0.0.1:1"
    clusters = [FLEET["clusters"][0] | {"signaling": [dead]}, FLEET["clusters"][1]]
    ingresses = [FLEET["ingresses"][0] | {"health": [dead]}]
    write(fleet_file, {"clusters": clusters, "ingresses": ingresses})
    metrics = Metrics()
    watching = observer(stack, settings(fleet_file), metrics)
    with structlog.testing.capture_logs() as logs:
        await watching.look()
        assert watching.view.cluster(1).healthy
        await watching.look()
        await watching.look()
    assert not watching.view.cluster(1).healthy
    assert not watching.view.ingress(1).healthy
    assert watching.view.cluster(2).healthy
    assert shown(metrics)['firsthop_fleet_healthy{part="cluster"}'] == 1
    assert shown(metrics)['firsthop_fleet_healthy{part="ingress"}'] == 0
    assert [line["event"] for line in logs] == ["fleet.cluster_down", "fleet.ingress_down"]


async def test_who_has_chosen_a_cluster_asks_ingress_points_only(
    stack: AsyncExitStack, fleet_file: Path
) -> None:
    dead = "http://127.0.0.1:1"
    clusters = [FLEET["clusters"][0] | {"signaling": [dead]}]
    ingresses = [FLEET["ingresses"][0] | {"health": [dead]}]
    write(fleet_file, {"clusters": clusters, "ingresses": ingresses})
    watching = Observer(settings(fleet_file), Metrics(), clusters=False)
    stack.push_async_callback(watching.stop)
    await watching.look()
    await watching.look()
    assert watching.view.cluster(1).healthy
    assert not watching.view.ingress(1).healthy


async def test_heartbeats_tell_sessions_room_and_who_drains(
    stack: AsyncExitStack, fleet_file: Path, redis_server: RedisServer
) -> None:
    here = settings(fleet_file, redis_server.url)
    metrics = Metrics()
    watching = observer(stack, here, metrics)
    for beat in (
        Beat(FRANKFURT, 10, 200),
        Beat(FRANKFURT, 30, 200),
        Beat(FRANKFURT, 190, 200, draining=True),
        Beat(SYDNEY, 50, 200, draining=True),
    ):
        process = Heartbeat(here, lambda beat=beat: beat)  # type: ignore[misc]
        stack.push_async_callback(process.stop)
        await process.beat()
    await watching.look()
    frankfurt, sydney = watching.view.cluster(1), watching.view.cluster(2)
    assert (frankfurt.sessions, frankfurt.capacity, frankfurt.draining) == (40, 400, False)
    assert (sydney.sessions, sydney.capacity, sydney.draining) == (50, 50, True)
    assert not sydney.has_room
    assert frankfurt.seen is not None
    assert shown(metrics)['firsthop_fleet_sessions{cluster="fra"}'] == 40


async def test_when_redis_is_gone_the_last_view_stays_and_its_age_is_told(
    stack: AsyncExitStack,
    fleet_file: Path,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = settings(fleet_file, redis_server.url)
    metrics = Metrics()
    watching = observer(stack, here, metrics)
    process = Heartbeat(here, lambda: Beat(FRANKFURT, 40, 200))
    stack.push_async_callback(process.stop)
    await process.beat()
    await watching.look()
    before = watching.view
    redis_server.kill()
    monkeypatch.setattr("firsthop.fleet.freshness._STALE", 0)
    with structlog.testing.capture_logs() as logs:
        await watching.look()
        await watching.look()
        assert watching.view == before
        assert shown(metrics)['firsthop_fleet_view_age_seconds{source="heartbeats"}'] > 0
        redis_server.start()
        await watching.look()
    assert [line["event"] for line in logs] == ["fleet.stale", "fleet.fresh"]
    assert redis_server.password not in repr(logs)
    assert watching.view.cluster(1).sessions is None, "nobody has reported since"


async def test_a_redis_without_keys_is_not_read(stack: AsyncExitStack, fleet_file: Path) -> None:
    with structlog.testing.capture_logs() as logs:
        watching = observer(stack, settings(fleet_file, "redis://127.0.0.1:1", keys=False))
        await watching.look()
    assert [line["event"] for line in logs] == ["fleet.no_keys"]
    assert watching.view.cluster(1).healthy


async def test_a_running_observer_sees_a_change_by_itself_and_ends_when_it_is_stopped(
    stack: AsyncExitStack, fleet_file: Path, redis_server: RedisServer
) -> None:
    here = settings(fleet_file, redis_server.url)
    watching = observer(stack, here)
    process = Heartbeat(here, lambda: Beat(FRANKFURT, 40, 200))
    stack.push_async_callback(process.stop)
    watching.start()
    while watching.view.cluster(1).sessions is None:
        await process.beat()
    await watching.stop()
    assert watching.view.cluster(1).sessions == 40
