"""`firsthop bench fleet`: simulates what may happen to a fleet, and makes rows of it.

What is drawn, what is computed and what is assumed: ``docs/planning.md``. The same seed gives the
same rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from firsthop.bench import machine
from firsthop.bench.benchmark import Progress
from firsthop.bench.fleet.choice import Choice, choices
from firsthop.bench.fleet.crowd import BEGINS, LASTS, TIMES, Crowd, crowd
from firsthop.bench.fleet.draws import Floats
from firsthop.bench.fleet.edge import EdgeLoss, edge_loss
from firsthop.bench.fleet.rehash import Rehash, rehashes
from firsthop.bench.fleet.world import CHROMIUM, World, build
from firsthop.bench.report import Report, Row, Target
from firsthop.plan.measurements import shipped

SHARE: Final = "share"
RATE: Final = "rate"
PARKED: Final = "parked"
FULL_AFTER: Final = "full after"
P50: Final = "silence p50"
P99: Final = "silence p99"

REHASHED: Final = "a relay of each site is {change}, routers by {router}"
EDGE_LOST: Final = "all relays of an ingress are lost"
NEIGHBOURS: Final = "its sessions at other ingresses, of what those were planned for"
CROWDED: Final = f"{TIMES} times the offers for a minute, {{where}}"
CHOSEN: Final = "a relay of a cluster is lost: flows that edges move"

WITH_CACHE: Final = "flow cache"
CLOCK: Final = "no cache, checks each 2.5 s"
SLOW_CLOCK: Final = "no cache, checks each 5 s"

_ROUTERS: Final = {"resilient": "resilient hashing", "remainder": "remainder"}
#: Targets, in ms: those of `firsthop bench recovery`, and of the loss of an edge.
_MOVE_MS: Final = 10.0
_DOWN_MS: Final = 300.0
_UP_MS: Final = 3500.0
#: Ingresses are planned for the mean of what comes: chance adds a little.
_OF_PLAN: Final = 105.0


@dataclass(frozen=True)
class Scale:
    """How much is simulated."""

    sessions: int
    """At peak, in the whole fleet."""
    seed: int = 7


FULL: Final = Scale(1_000_000)
QUICK: Final = Scale(100_000)


@dataclass
class FleetReport(Report):
    """Rows, and what they were made of: plots show more of it."""

    rehashes: Sequence[Rehash] = field(default_factory=list)
    edge: EdgeLoss | None = None
    crowds: Sequence[Crowd] = field(default_factory=list)
    choices: Sequence[Choice] = field(default_factory=list)


def steps(scale: Scale) -> int:
    """Return how many times a run reports progress."""
    return 5


def run(scale: Scale, folder: Path, progress: Progress) -> Report:
    """Simulate everything. Nothing is kept in `folder`."""
    # Each part has a stream of its own: what one draws changes nothing for the others.
    streams = [np.random.default_rng([scale.seed, part]) for part in range(5)]
    progress("planning a fleet")
    world = build(scale.sessions, streams[0])
    report = FleetReport("fleet", _about(scale))
    progress("relays come and go")
    report.rehashes = list(rehashes(world, streams[1]))
    progress("an ingress is lost")
    report.edge = edge_loss(world, streams[2])
    progress("a crowd calls")
    report.crowds = [crowd(world, streams[3], region) for region in (None, _largest(world))]
    progress("a cluster's relay is lost")
    report.choices = list(choices(scale.sessions, streams[4]))
    report.rows = list(_rows(report))
    return report


def _largest(world: World) -> int:
    """Return the region that most sessions enter by."""
    entering = [world.planned(region, "entering") for region in range(len(world.regions))]
    return entering.index(max(entering))


def _rows(report: FleetReport) -> Iterator[Row]:
    for rehash in report.rehashes:
        yield from _of_rehash(rehash)
    if report.edge is not None:
        yield from _of_edge(report.edge)
    for of in report.crowds:
        yield from _of_crowd(of)
    for choice in report.choices:
        yield from _of_choice(choice)


def _of_rehash(rehash: Rehash) -> Iterator[Row]:
    case = REHASHED.format(change=rehash.change, router=_ROUTERS[rehash.router])
    asked = rehash.asked
    yield Row.of_one(case, WITH_CACHE, SHARE, rehash.moved * 100, "%")
    yield Row.of_one(
        case, WITH_CACHE, RATE, asked.rate, "/s", note="look-ups wanted of the busiest relay"
    )
    yield Row.of_one(case, WITH_CACHE, PARKED, asked.parked, "packets", note="at the busiest relay")
    yield from _silence(case, WITH_CACHE, asked.gaps_ms, _MOVE_MS)
    for clock, gaps in ((CLOCK, rehash.chromium_ms), (SLOW_CLOCK, rehash.slow_ms)):
        yield Row.of_one(case, clock, SHARE, rehash.moved * 100, "%")
        yield from _silence(case, clock, gaps)


def _of_edge(edge: EdgeLoss) -> Iterator[Row]:
    share = edge.sessions / edge.all_sessions * 100
    fast, slow = edge.up_ms[~edge.slow], edge.up_ms[edge.slow]
    for contender, gaps, target_ms in (
        ("second candidate: agent's sound", edge.down_ms, _DOWN_MS),
        ("second candidate: caller's, checks each 2.5 s", fast, _UP_MS),
        ("second candidate: caller's, checks each 5 s", slow, None),
        ("no other candidate: calls again", edge.again_ms, None),
    ):
        yield Row.of_one(
            EDGE_LOST, contender, SHARE, share, "%", note=f"of all sessions, at {edge.lost}"
        )
        if gaps is edge.again_ms:
            note = f"offers in the busiest second; {edge.offers_before:,.0f} before"
            yield Row.of_one(EDGE_LOST, contender, RATE, edge.offers, "/s", note=note)
        yield from _silence(EDGE_LOST, contender, gaps, target_ms)
    for name, filled in edge.after.items():
        if filled > edge.before[name]:
            target = Target("value", _OF_PLAN)
            note = f"{edge.before[name]:.0%} before"
            yield Row.of_one(NEIGHBOURS, name, SHARE, filled * 100, "%", target=target, note=note)


def _of_crowd(of: Crowd) -> Iterator[Row]:
    case = CROWDED.format(where=of.where)
    refused = float(of.refused.max())
    yield Row.of_one(
        case, "offers", RATE, float(of.offers.max()), "/s", note="in the busiest second"
    )
    yield Row.of_one(case, "refused: no cluster has room", SHARE, of.refused_share * 100, "%")
    yield Row.of_one(case, "refused: no cluster has room", RATE, refused, "/s")
    yield Row.of_one(
        case, "served by another than the nearest", SHARE, of.elsewhere_share() * 100, "%"
    )
    again = float(of.tried_twice.max())
    yield Row.of_one(case, "refused by a cluster that was not known to be full", RATE, again, "/s")
    full_after = of.full_after()
    for name, filled, guests in zip(of.clusters, of.filled, of.guests, strict=True):
        fullest = f"{name} at its fullest"
        yield Row.of_one(case, fullest, SHARE, float(filled.max()) * 100, "%")
        if name in full_after:
            yield Row.of_one(case, fullest, FULL_AFTER, max(0, full_after[name]), "s")
        yield Row.of_one(
            case, f"{name}: new calls that are nearer to another", SHARE, guests * 100, "%"
        )


def _of_choice(of: Choice) -> Iterator[Row]:
    of_relays = f"of {of.relays} relays (1/n: {100 / of.relays:.1f} %)"
    yield Row.of_one(CHOSEN, of_relays, SHARE, of.moved * 100, "%")
    others = f"of {of.relays} relays, the flows of others"
    yield Row.of_one(CHOSEN, others, SHARE, of.needlessly * 100, "%", target=Target("value", 0))
    busiest = f"of {of.relays} relays, the busiest to the mean"
    yield Row.of_one(CHOSEN, busiest, SHARE, of.most_after * 100, "%", note=f"{of.most:.0%} before")


def _silence(
    case: str, contender: str, gaps: Floats, target_ms: float | None = None
) -> Iterator[Row]:
    target = None if target_ms is None else Target("value", target_ms)
    p50, p99, most = np.percentile(gaps, [50, 99, 100])
    yield Row.of_one(case, contender, P50, float(p50), "ms")
    note = f"longest {most:,.0f} ms, {len(gaps):,} calls"
    yield Row.of_one(case, contender, P99, float(p99), "ms", target=target, note=note)


def _about(scale: Scale) -> dict[str, str]:
    drawn = shipped()
    p50, p99 = drawn.value("move_redis_p50"), drawn.value("move_redis_p99")
    alone = drawn.value("move_alone_p50"), drawn.value("move_alone_p99")
    rate = 1e6 / drawn.value("relay_report")
    date = drawn.benches["recovery"].date
    return {
        **machine.about(),
        "fleet": f"{scale.sessions:,} sessions at peak, seed {scale.seed}; examples/plan/"
        "regions.yaml, sized by firsthop plan; steering is the real one",
        "measured": f"a look-up takes {p50:g} ms, p99 {p99:g} (bench recovery, {date}); a relay "
        f"makes {rate:,.0f} a second, as many as reports. Without a cache clients' clocks decide: "
        f"the bench measured {alone[0]:,.0f} and {alone[1]:,.0f} ms at 2.5 s",
        "assumed": f"{CHROMIUM:.0%} of clients check each 2.5 s, others each 5 s; they leave a "
        "silent path after that and 1 s more at most; a crowd lasts "
        f"{LASTS} s, begins after {BEGINS}, and who is refused stays away",
    }
