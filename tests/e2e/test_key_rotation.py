"""A cluster's key is changed while calls are placed through an edge: none is refused, none suffers.

Edge relay, relay of the cluster and transceiver as processes, each with a settings file of its own,
written anew in the order of docs/operations.md.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import Mapping
from pathlib import Path

import yaml

from e2e import network
from e2e.network import HOST, LOOPBACK
from e2e.processes import Edge, Process
from e2e.waiting import until
from firsthop._native import edge_key
from firsthop.load import Load, door

_WORKERS = 2


class Part:
    """A process, and the file with its keys."""

    def __init__(self, process: Process, file: Path) -> None:
        self.process = process
        self._file = file

    async def read(self, keys: Mapping[str, object]) -> None:
        """Have it read these keys, and wait until they count."""
        self._file.write_text(yaml.safe_dump(keys))
        before = self._applied()
        self.process.send(signal.SIGHUP)
        await until(lambda: self._applied() > before, f"{self.process.arguments} has the keys")

    def _applied(self) -> int:
        return self.process.log.read_text().count("settings.applied")


async def test_a_key_is_changed_while_calls_are_placed_through_an_edge(
    edge: Edge, tmp_path: Path
) -> None:
    old, new = secrets.token_bytes(32), secrets.token_bytes(32)
    outer = network.ports()
    cluster = {
        "id": 1,
        "networks": [f"{LOOPBACK}/32"],
        "first_port": edge.first_shard_port,
        "last_port": edge.first_shard_port + 7,
    }
    inner_relay = part(
        edge,
        tmp_path / "relay.yaml",
        "relay",
        {"keys": {0: old.hex()}},
        {
            "relay.listen": [f"{HOST}:{edge.relay_port}"],
            "relay.upstream": f"{LOOPBACK}:{edge.upstream_port}",
            "relay.workers": _WORKERS,
            "relay.clusters": [cluster],
            "relay.edges": [f"{LOOPBACK}/32"],
        },
    )
    relays = [f"{LOOPBACK}:{edge.upstream_port + worker}" for worker in range(_WORKERS)]
    outer_relay = part(
        edge,
        tmp_path / "edge.yaml",
        "relay",
        {"edge_keys": edge_keys(0, {0: old})},
        {
            "relay.site": 2,
            "relay.listen": [f"{HOST}:{outer}"],
            "relay.upstream": f"{LOOPBACK}:{network.ports(_WORKERS)}",
            "relay.workers": _WORKERS,
            "relay.clusters": [cluster | {"relays": relays}],
        },
    )
    transceiver = part(
        edge,
        tmp_path / "transceiver.yaml",
        "transceiver",
        {"keys": {0: old.hex()}},
        {
            "transceiver.listen": f"{LOOPBACK}:{edge.first_shard_port}",
            "transceiver.advertise": [f"{HOST}:{outer}"],
            "backend": "echo",
        },
    )
    for process in edge.processes:
        await process.start()
    both = {0: old, 1: new}
    hexed = {id_: key.hex() for id_, key in both.items()}

    async with Load(
        door(f"{transceiver.process.url}/v1/realtime/calls"), callers=24, rate=8, local=HOST
    ) as load:
        ramp = asyncio.create_task(load.ramp_up())
        await until(lambda: load.measured().totals["received"] > 0, "the first call")
        load.measure()
        # The new key to all, edges first; then all seal under it.
        await outer_relay.read({"edge_keys": edge_keys(0, both)})
        await inner_relay.read({"keys": hexed})
        await transceiver.read({"keys": hexed})
        await transceiver.read({"keys": hexed, "key_id": 1})
        await inner_relay.read({"keys": hexed, "key_id": 1})
        await outer_relay.read({"edge_keys": edge_keys(1, both)})
        assert not ramp.done(), "calls were placed all the while"
        await ramp
        await until(lambda: len(load.measured().stages_ms.get("audio", ())) == 24, "all hear")
        found = load.measured()
    assert (found.stood, found.failures) == (24, {})
    assert found.totals["lost"] == 0
    for relay in (inner_relay, outer_relay):
        metrics = await relay.process.metrics()
        dropped = metrics.by("reason", "relay_dropped_packets_total")
        assert not {reason for reason in dropped if reason.startswith(("token", "hop"))}, dropped


def edge_keys(key_id: int, masters: Mapping[int, bytes]) -> dict[int, object]:
    keys = {id_: edge_key(master).hex() for id_, master in masters.items()}
    return {1: {"keys": keys, "key_id": key_id}}


def part(
    edge: Edge,
    file: Path,
    command: str,
    keys: Mapping[str, object],
    settings: Mapping[str, object],
) -> Part:
    """Make a process whose keys stand in a file, and all else in its environment."""
    file.write_text(yaml.safe_dump(keys))
    port = network.ports()
    http = "relay.health_listen" if command == "relay" else "signaling.listen"
    everything = {**settings, http: f"{LOOPBACK}:{port}", "log_format": "json"}
    process = Process((command, "--config", str(file)), everything, port, file.with_suffix(".log"))
    edge.processes.append(process)
    return Part(process, file)
