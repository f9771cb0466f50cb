"""Settings that change while a part runs."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml

from firsthop.config import Settings
from firsthop.errors import ConfigError, OverloadedError
from firsthop.reloading import RELOADED, Reloading, Source

KEY, NEW_KEY = "ab" * 32, "cd" * 32
EDGE_KEY = "ef" * 48
FLEET = {
    "clusters": [
        {
            "id": id_,
            "name": f"c{id_}",
            "location": [0, 0],
            "networks": [f"10.{id_}.0.0/16"],
            "relays": [f"10.{id_}.0.5:3479"],
        }
        for id_ in (1, 2)
    ]
}


class Part:
    """What a part was told."""

    def __init__(self) -> None:
        self.told: list[Settings] = []
        self.failure: Exception | None = None
        self.told_something = asyncio.Event()

    def apply(self, settings: Settings) -> None:
        if self.failure is not None:
            raise self.failure
        self.told.append(settings)
        self.told_something.set()


class Files:
    """The files of one part, and what watches them."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.settings = folder / "settings.yaml"
        self.fleet = folder / "fleet.yaml"
        self.part = Part()

    def write(self, **values: Any) -> None:
        """Write the settings file."""
        self.settings.write_text(yaml.safe_dump(values))

    def write_fleet(self, fleet: dict[str, Any]) -> None:
        self.fleet.write_text(yaml.safe_dump(fleet))

    def reloading(
        self, environment: dict[str, str] | None = None, changes: dict[str, Any] | None = None
    ) -> Reloading:
        """Start to watch, by hand: `check` looks."""
        source = Source([self.settings], environment or {})
        settings = source.load().model_copy(update=changes or {})
        made = Reloading(settings, source, relay=True)
        made.tell(self.part.apply)
        self._stack.push_async_callback(made.stop)
        return made


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[Files]:
    async with AsyncExitStack() as stack:
        yield Files(tmp_path, stack)


CLUSTERS = [{"id": 2, "networks": ["10.2.0.0/16"]}]
AT_FIRST = {"keys": {0: KEY}}
CHANGES: list[tuple[str, dict[str, Any]]] = [
    ("keys", {"keys": {0: KEY, 1: NEW_KEY}}),
    ("key_id", {"keys": {0: KEY, 1: NEW_KEY}, "key_id": 1}),
    ("edge_keys", AT_FIRST | {"edge_keys": {2: {"keys": {0: EDGE_KEY}}}}),
    ("fleet.keys", AT_FIRST | {"fleet": {"keys": {0: NEW_KEY}}}),
    ("fleet.key_id", AT_FIRST | {"fleet": {"keys": {3: NEW_KEY}, "key_id": 3}}),
    ("signaling.secret_keys", AT_FIRST | {"signaling": {"secret_keys": {0: NEW_KEY}}}),
    (
        "signaling.secret_key_id",
        AT_FIRST | {"signaling": {"secret_keys": {2: NEW_KEY}, "secret_key_id": 2}},
    ),
    ("signaling.api_keys", AT_FIRST | {"signaling": {"api_keys": ["x" * 24]}}),
    ("relay.clusters", AT_FIRST | {"relay": {"clusters": CLUSTERS}}),
    ("relay.edges", AT_FIRST | {"relay": {"edges": ["10.9.0.0/16"]}}),
]


def test_every_setting_that_is_reloaded_is_tested() -> None:
    assert {name for name, _ in CHANGES} == set(RELOADED)


@pytest.mark.parametrize(("name", "values"), CHANGES)
async def test_a_change_is_taken_over_without_a_restart(
    files: Files, name: str, values: dict[str, Any]
) -> None:
    files.write(**AT_FIRST)
    reloading = files.reloading()
    await reloading.check()
    assert files.part.told == []
    files.write(**values)
    with structlog.testing.capture_logs() as logs:
        await reloading.check()
    [told] = files.part.told
    assert told == Source([files.settings], {}).load() == reloading.settings
    [applied] = [line for line in logs if line["event"] == "settings.applied"]
    assert name in applied["settings"]
    assert KEY not in repr(logs)
    assert NEW_KEY not in repr(logs)
    assert EDGE_KEY not in repr(logs)
    assert "settings.restart_needed" not in [line["event"] for line in logs]


async def test_a_change_in_any_of_several_files_is_taken_over(files: Files, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets.yaml"
    files.write(backend="echo")
    secrets.write_text(yaml.safe_dump(AT_FIRST))
    source = Source([files.settings, secrets], {})
    reloading = Reloading(source.load(), source)
    reloading.tell(files.part.apply)
    secrets.write_text(yaml.safe_dump({"keys": {0: KEY, 1: NEW_KEY}, "key_id": 1}))
    await reloading.check()
    [told] = files.part.told
    assert told.key_id == 1
    assert told.backend == "echo"


async def test_other_settings_are_named_and_wait_for_a_restart(files: Files) -> None:
    files.write(keys={0: KEY}, relay={"workers": 1})
    reloading = files.reloading()
    files.write(
        keys={0: KEY},
        relay={"workers": 2, "flow_cache": {"url": "redis://:secret@10.0.0.9"}},
        backend="echo",
        signaling={"api_keys": ["x" * 24]},
    )
    with structlog.testing.capture_logs() as logs:
        await reloading.check()
        await reloading.check()
    [line] = [line for line in logs if line["event"] == "settings.restart_needed"]
    assert line["settings"] == ["relay.workers", "relay.flow_cache.url", "backend"]
    assert "secret" not in repr(logs)
    [told] = files.part.told
    assert told.relay.workers == 1
    assert told.signaling.api_keys == ("x" * 24,)


async def test_a_setting_that_is_set_back_needs_no_restart(files: Files) -> None:
    files.write(**AT_FIRST)
    reloading = files.reloading()
    with structlog.testing.capture_logs() as logs:
        files.write(**AT_FIRST, backend="echo")
        await reloading.check()
        files.write(**AT_FIRST)
        await reloading.check()
    events = [line["event"] for line in logs]
    assert events.count("settings.restart_needed") == 1


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"keys": {0: NEW_KEY[1:]}}, "keys.0"),
        ({"keys": {1: NEW_KEY}}, "0 is not among keys, which has 1"),
        ({"keys": {}}, "firsthop key"),
        ({"keys": {0: NEW_KEY}, "realy": {}}, "no such setting"),
        ({"keys": {0: NEW_KEY}, "relay": {"cluster": 7}}, "fleet.file is not set"),
    ],
)
async def test_a_wrong_file_changes_nothing_and_is_one_line(
    files: Files, values: dict[str, Any], says: str
) -> None:
    files.write(**AT_FIRST)
    reloading = files.reloading()
    files.write(**values)
    with structlog.testing.capture_logs() as logs:
        await reloading.check()
        await reloading.check()
    [line] = logs
    assert line["log_level"] == "error"
    assert says in line["problem"]
    assert NEW_KEY[1:20] not in repr(logs)
    assert files.part.told == []
    assert reloading.settings.keys == {0: KEY}


async def test_the_environment_stays_as_it_was_at_the_start(files: Files) -> None:
    files.write(**AT_FIRST)
    reloading = files.reloading({"FIRSTHOP_KEYS__1": NEW_KEY})
    files.write(keys={0: KEY, 2: KEY})
    await reloading.check()
    [told] = files.part.told
    assert told.keys == {0: KEY, 1: NEW_KEY, 2: KEY}


async def test_what_was_made_up_at_the_start_stays_until_the_file_says_otherwise(
    files: Files,
) -> None:
    """As `firsthop dev` does, which has keys of its own unless some are set."""
    files.write()
    reloading = files.reloading(changes={"keys": {0: KEY}})
    files.write(signaling={"api_keys": ["x" * 24]})
    await reloading.check()
    files.write(keys={0: NEW_KEY})
    await reloading.check()
    assert [told.keys for told in files.part.told] == [{0: KEY}, {0: NEW_KEY}]


@pytest.mark.parametrize(
    "failure", [OSError("timed out"), ValueError("keys"), OverloadedError("busy")]
)
async def test_what_cannot_be_taken_over_is_tried_again(files: Files, failure: Exception) -> None:
    files.write(**AT_FIRST)
    reloading = files.reloading()
    files.write(keys={0: NEW_KEY})
    files.part.failure = failure
    with structlog.testing.capture_logs() as logs:
        await reloading.check()
        await reloading.check()
    assert [line["event"] for line in logs] == ["file.refused"]
    assert reloading.settings.keys == {0: KEY}
    files.part.failure = None
    await reloading.check()
    assert reloading.settings.keys == {0: NEW_KEY}


async def test_a_hangup_signal_reads_at_once(files: Files) -> None:
    files.write(**AT_FIRST)
    reloading = files.reloading()
    reloading.start()
    files.write(keys={0: NEW_KEY})
    os.kill(os.getpid(), signal.SIGHUP)
    await files.part.told_something.wait()
    assert files.part.told[0].keys == {0: NEW_KEY}


async def test_without_files_nothing_is_watched() -> None:
    reloading = Reloading(Settings())
    reloading.start()
    assert len(asyncio.all_tasks()) == 1
    await reloading.stop()


# With a fleet file.


async def test_a_relay_has_the_clusters_of_the_fleet_file_and_follows_it(files: Files) -> None:
    files.write_fleet(FLEET)
    files.write(
        keys={0: KEY},
        fleet={"file": str(files.fleet)},
        relay={"cluster": 1},
        edge_keys={2: {"keys": {0: EDGE_KEY}}},
    )
    reloading = files.reloading()
    assert [cluster.id for cluster in reloading.settings.relay.clusters] == [1, 2]
    files.write_fleet({"clusters": FLEET["clusters"][:1]})
    await reloading.check()
    [told] = files.part.told
    assert [(cluster.id, cluster.relays) for cluster in told.relay.clusters] == [(1, ())]


async def test_an_edge_key_that_comes_brings_its_cluster(files: Files) -> None:
    files.write_fleet(FLEET)
    values: dict[str, Any] = {"fleet": {"file": str(files.fleet)}}
    files.write(**values, edge_keys={2: {"keys": {0: EDGE_KEY}}})
    reloading = files.reloading()
    assert [cluster.id for cluster in reloading.settings.relay.clusters] == [2]
    files.write(**values, edge_keys={id_: {"keys": {0: EDGE_KEY}} for id_ in (1, 2)})
    await reloading.check()
    assert [cluster.id for cluster in files.part.told[0].relay.clusters] == [1, 2]


async def test_a_fleet_file_without_the_relays_own_cluster_is_refused(files: Files) -> None:
    files.write_fleet(FLEET)
    files.write(keys={0: KEY}, fleet={"file": str(files.fleet)}, relay={"cluster": 2})
    reloading = files.reloading()
    files.write_fleet({"clusters": FLEET["clusters"][:1]})
    with structlog.testing.capture_logs() as logs:
        await reloading.check()
    assert "the fleet file has no cluster 2; it has 1" in logs[-1]["problem"]
    assert files.part.told == []


def test_a_fleet_file_that_is_wrong_at_the_start_is_refused(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text("clusters: 7")
    source = Source((), {"FIRSTHOP_FLEET__FILE": str(fleet)})
    with pytest.raises(ConfigError, match="clusters"):
        Reloading(source.load(), source, relay=True)
