"""The course of a rehearsal, drawn."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import yaml

from firsthop.bench.rollout import manifests
from firsthop.bench.rollout.chart import CHART
from firsthop.bench.rollout.crowd import Batch
from firsthop.bench.rollout.network import Network
from firsthop.bench.rollout.pods import Pod
from firsthop.bench.rollout.rehearsal import RELAYS, Rehearsed, Sample, Step
from firsthop.bench.rollout.run import RolloutReport

_OBJECTS = yaml.safe_load_all(Path(__file__).with_name("manifest.yaml").read_text())
_DEPLOYMENT = manifests.read(_OBJECTS).deployment("transceiver")


def pod(number: int, folder: Path) -> Pod:
    """Return one that was there for a while, and never was at all."""
    return Pod(
        name=f"voice-transceiver-1-{number}",
        deployment=_DEPLOYMENT,
        revision=1,
        node="one",
        address="10.244.0.1",
        folder=folder,
        network=cast(Network, None),
        created=100.0 + number,
        first_ready=103.0 + number,
        deleted=110.0 if number else None,
        ended=115.0,
        lost=not number,
    )


def test_steps_pods_calls_and_gaps_are_all_there(tmp_path: Path) -> None:
    pods = [pod(number, tmp_path) for number in range(2)]
    instants = [
        {"at_s": at, "lost": 0, "unreturned": 1, "longest_gap_ms": 21.0} for at in (1.0, 2.0)
    ]
    found = Rehearsed(
        steps=[Step(RELAYS, 104.0, 108.0)],
        samples=[Sample(104.0 + at, {pods[0].name: at, pods[1].name: 2}) for at in range(3)],
        pods=pods,
        short=[Batch(104.0, 107.0, {"course": instants})],
    )
    report = RolloutReport("rollout", {"machine": "a toaster"}, found=found)
    paths = CHART.save(report, tmp_path, title="A rehearsal")
    assert [path.name for path in paths] == ["rollout.png", "rollout.svg"]
    drawn = paths[1].read_text()
    for text in (RELAYS, "transceiver 1, node one", "longest gap of the second, ms", "calls"):
        assert text in drawn


def test_of_nothing_nothing_is_drawn(tmp_path: Path) -> None:
    assert CHART.save(RolloutReport("rollout", {}), tmp_path, title="Nothing") == []
