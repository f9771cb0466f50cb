"""The Helm chart rehearsed: its pods as processes in namespaces, upgraded, scaled and lost.

What is rendered is the chart of this checkout; `firsthop.bench.rollout` runs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest

from firsthop.bench.errors import SkippedError
from firsthop.bench.rollout.crowd import Batch
from firsthop.bench.rollout.network import missing
from firsthop.bench.rollout.rehearsal import (
    GATEWAY,
    RELAY,
    STEPS,
    TRANSCEIVER,
    Rehearsed,
    Scale,
    rehearse,
)

_problem = missing()
pytestmark = [
    pytest.mark.skipif(_problem is not None, reason=f"no rehearsal on this machine: {_problem}"),
    #: It takes less than a minute, on a machine that has the time.
    pytest.mark.timeout(300),
]

_SCALE = Scale()


@pytest.fixture
def found(tmp_path: Path) -> Rehearsed:
    """Rehearse everything."""
    try:
        return asyncio.run(rehearse(_SCALE, tmp_path, lambda what: None))
    except SkippedError as reason:
        pytest.skip(str(reason))


def test_calls_live_through_upgrades_and_scaling_and_through_the_loss_of_another_node(
    found: Rehearsed,
) -> None:
    assert [step.name for step in found.steps] == list(STEPS)
    # Pods ended by themselves, within their grace, with status 0; none died or was killed.
    assert found.problems == []
    for pod in found.pods:
        said = pod.said()
        assert "Traceback" not in said and "panicked" not in said, f"{pod.name}:\n{said}"

    # Every step was taken under calls, and none of those was refused, dropped, or lost a packet.
    for step in found.steps[:-1]:
        assert any(batch.overlaps(step.began, step.ended) for batch in found.short), step.name
    assert_unharmed(found.short)

    # Calls longer than a drain went on elsewhere.
    assert_unharmed(found.long)
    assert found.long[0].moved >= _SCALE.long_callers

    # All pods were exchanged, and the added one was of use.
    assert len(ended(found, RELAY)) >= _SCALE.relays
    assert len(ended(found, TRANSCEIVER)) >= _SCALE.transceivers + 1
    assert len(ended(found, GATEWAY)) >= _SCALE.gateways
    assert found.took_calls_s is not None

    # A node's death ends the calls that it had, and no others.
    [standing] = found.standing
    assert standing.heard == found.spared > 0
    assert_unharmed(found.after)


def assert_unharmed(batches: Iterable[Batch]) -> None:
    """Assert that no offer was refused, no call dropped, no packet lost."""
    judged = list(batches)
    assert judged
    for batch in judged:
        assert (batch.refused, batch.dropped) == (0, 0), batch.report["failures"]
        assert batch.report["calls"]["stood"] == batch.calls == batch.report["calls"]["asked"]
        assert batch.received > 0
        assert batch.lost == 0, batch.report


def ended(found: Rehearsed, component: str) -> list[str]:
    """Return the pods of a component that were told to end, and did."""
    return [
        pod.name
        for pod in found.pods
        if pod.component == component and pod.asked_to_end is not None and not pod.lost
    ]
