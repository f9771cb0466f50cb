"""`firsthop bench rollout`: the rehearsal at its sizes, and the report of it.

Why it is done as it is: ``docs/benchmarks.md``.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from firsthop.bench import machine
from firsthop.bench.benchmark import Progress
from firsthop.bench.report import Report
from firsthop.bench.rollout import measures
from firsthop.bench.rollout.cluster import Delays
from firsthop.bench.rollout.rehearsal import STEPS, Rehearsed, Scale, rehearse

FULL: Final = Scale(
    transceivers=3,
    relays=3,
    callers=6,
    call_s=20.0,
    every_s=2.0,
    long_callers=10,
    standing_callers=30,
    relay_drain_s=15,
    transceiver_drain_s=25,
    pre_stop_s=3,
    min_ready_s=5.0,
    rest_s=5.0,
)
QUICK: Final = Scale()


@dataclass
class RolloutReport(Report):
    """A report that keeps the course of the rehearsal, to be drawn."""

    found: Rehearsed = field(default_factory=Rehearsed)


def steps(scale: Scale) -> int:
    """Return how many times a run reports progress."""
    return 1 + len(STEPS)


def run(scale: Scale, folder: Path, progress: Progress) -> Report:
    """Rehearse once. `folder` is for files that nobody needs afterwards.

    Raises:
        BenchError: It takes root, nftables and conntrack, or something does not come up.
    """
    found = asyncio.run(rehearse(scale, folder, progress))
    report = RolloutReport("rollout", _about(scale), measures.rows(found), found=found)
    report.remarks = [*found.remarks, *found.problems]
    return report


def _about(scale: Scale) -> dict[str, str]:
    delays = Delays()
    return {
        **machine.about(),
        "nftables": machine.version_of("nft", "--version") or "none",
        "Redis": machine.version_of("redis-server", "--version") or "none",
        "cluster": (
            f"{scale.relays} relays, {scale.transceivers} transceivers, {scale.gateways} gateways "
            f"on two nodes; endpoints lag by {delays.endpoints_s:g} s, the death of a node by "
            f"{delays.node_s:g} s; drains of {scale.relay_drain_s} s (relays) and "
            f"{scale.transceiver_drain_s} s (transceivers)"
        ),
        "calls": (
            f"{scale.callers} more each {scale.every_s:g} s, which last {scale.call_s:g} s; "
            f"{scale.long_callers} longer than transceivers drain; {scale.standing_callers} when a "
            "node is lost"
        ),
    }
