"""`firsthop bench recovery`: runs chains of faults, and makes rows of what calls saw.

Why it is measured as it is: ``docs/benchmarks.md``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from firsthop.bench import isolation, machine
from firsthop.bench.benchmark import Progress
from firsthop.bench.isolation import Isolation
from firsthop.bench.recovery import cache_server, faults
from firsthop.bench.recovery.faults import REDIS_FAULTS, Seen
from firsthop.bench.recovery.gaps import percentile
from firsthop.bench.report import Report, Row, Target

UP_P50, UP_P99, UP_LOST = "up p50", "up p99", "up lost"
DOWN_P50, DOWN_P99, DOWN_LOST = "down p50", "down p99", "down lost"
METRICS = (UP_P50, UP_P99, UP_LOST, DOWN_P50, DOWN_P99, DOWN_LOST)

_UPGRADE_MS = 5.0
_MOVE_MS = 10.0
_CRASH_MS = 100.0
#: By how much the p99 may exceed that of the same calls while nothing is broken.
_NO_EFFECT_MS = 5.0
#: Stand-ins that are later than this say that the machine was not ours: gaps are not the relay's.
_LATE_MS = 5.0

Kind = tuple[str, bool, bool]
"""Fault, whether there is Redis, whether the agent talks."""


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    chains: int
    calls: int
    """At the same time."""
    seconds: float
    """How long each fault is watched, at least."""


FULL = Scale(chains=5, calls=40, seconds=2.5)
QUICK = Scale(chains=1, calls=40, seconds=1.5)


def steps(scale: Scale) -> int:
    """Return how many times a run reports progress, with Redis installed."""
    return scale.chains * sum(faults.STEPS.values())


def run(scale: Scale, folder: Path, progress: Progress) -> Report:
    """Measure everything. `folder` is for files that nobody needs afterwards.

    Raises:
        BenchError: Not on this system, or something does not come up.
    """
    where = isolation.enter()
    report = Report("recovery", _about(scale, where), remarks=list(where.notes))
    caches = [True, False] if cache_server.installed() else [False]
    if True not in caches:
        report.remarks.append(
            "no rows with Redis: there is no redis-server (Debian's package redis-server has it)"
        )
    seen: dict[Kind, list[Seen]] = defaultdict(list)
    for number in range(scale.chains):
        for redis in caches:
            files = folder / f"{number}-{'redis' if redis else 'memory'}"
            files.mkdir()
            for one in faults.chain(
                scale.calls, scale.seconds, files, where, redis=redis, progress=progress
            ):
                seen[one.fault, one.redis, one.talking].append(one)
    report.rows = rows(seen)
    report.remarks += _lateness(seen)
    return report


def rows(seen: Mapping[Kind, Sequence[Seen]]) -> list[Row]:
    """Make rows, by fault: percentiles over all calls of all chains, packets lost in all."""
    made: list[Row] = []
    for fault in faults.ALL:
        for kind in (
            (fault, redis, talking) for redis in (True, False) for talking in (True, False)
        ):
            if kind in seen:
                made += _rows(kind, seen[kind], _calm_p99s(kind, seen))
    return made


def contender(kind: Kind) -> str:
    """Return how calls of a kind are called in reports."""
    _, redis, talking = kind
    return f"{'talks' if talking else 'silent'}, {'Redis' if redis else 'no Redis'}"


def _rows(kind: Kind, seen: Sequence[Seen], calm_p99s: Mapping[str, float]) -> Iterator[Row]:
    yield from _gap_rows(kind, (UP_P50, UP_P99), seen, calm_p99s)
    yield _loss_row(kind, UP_LOST, [(one.up_lost, one.up_sent) for one in seen])
    if kind[2]:
        yield from _gap_rows(kind, (DOWN_P50, DOWN_P99), seen, calm_p99s)
        yield _loss_row(kind, DOWN_LOST, [(one.down_lost, one.down_sent) for one in seen])


def _fair(seen: Sequence[Seen]) -> list[Seen]:
    """Leave out the runs in which the machine held up even the stand-ins. Losses it excuses not."""
    return [one for one in seen if one.late_ms <= _LATE_MS]


def _gap_rows(
    kind: Kind, metrics: tuple[str, str], seen: Sequence[Seen], calm_p99s: Mapping[str, float]
) -> Iterator[Row]:
    fair = _fair(seen)
    used = fair or seen
    gaps = [one.up_gaps_ms if metrics[0] == UP_P50 else one.down_gaps_ms for one in used]
    pooled = [gap for of_chain in gaps for gap in of_chain]
    note = f"longest {max(pooled):.1f} ms, {len(pooled)} calls"
    if len(fair) < len(seen):
        note += f"; {len(seen) - len(fair)} of {len(seen)} runs unfit"
    for metric, percent in zip(metrics, (50, 99), strict=True):
        each = [percentile(of_chain, percent) for of_chain in gaps]
        yield Row(
            case=kind[0],
            contender=contender(kind),
            metric=metric,
            value=percentile(pooled, percent),
            unit="ms",
            low=min(each),
            high=max(each),
            target=_gap_target(kind, calm_p99s[metric]) if percent == 99 else None,
            note=note if percent == 99 else "",
            unfit=not fair,
        )


def _loss_row(kind: Kind, metric: str, losses: Sequence[tuple[int, int]]) -> Row:
    row = Row.of_rounds(kind[0], contender(kind), metric, "", [lost for lost, _ in losses])
    return replace(
        row,
        value=sum(lost for lost, _ in losses),
        target=_loss_target(kind),
        note=f"of {sum(sent for _, sent in losses)}",
    )


def _gap_target(kind: Kind, calm_p99: float) -> Target | None:
    fault, redis, talking = kind
    if fault == faults.UPGRADE:
        return Target("value", _UPGRADE_MS)
    if fault == faults.MOVE and redis:
        return Target("value", _MOVE_MS)
    if fault == faults.CRASH and (talking or redis):
        return Target("value", _CRASH_MS)
    if fault in REDIS_FAULTS:
        return Target("value", round(calm_p99 + _NO_EFFECT_MS, 1))
    return None


def _loss_target(kind: Kind) -> Target | None:
    fault, redis, _ = kind
    harmless = fault in {faults.NONE, faults.UPGRADE, *REDIS_FAULTS}
    return Target("value", 0) if harmless or (fault == faults.MOVE and redis) else None


def _calm_p99s(kind: Kind, seen: Mapping[Kind, Sequence[Seen]]) -> dict[str, float]:
    """What the same calls see while nothing is broken: what the machine does to them anyway."""
    _, redis, talking = kind
    calm = _fair(seen.get((faults.NONE, redis, talking), []))
    up = [gap for one in calm for gap in one.up_gaps_ms]
    down = [gap for one in calm for gap in one.down_gaps_ms]
    return {
        metric: percentile(gaps, 99) if gaps else 0.0
        for metric, gaps in ((UP_P50, up), (UP_P99, up), (DOWN_P50, down), (DOWN_P99, down))
    }


def _lateness(seen: Mapping[Kind, Sequence[Seen]]) -> Iterator[str]:
    """Tell of runs that say more about the machine than about relays."""
    for (fault, redis, talking), ones in seen.items():
        late = [one.late_ms for one in ones if one.late_ms > _LATE_MS]
        if talking and late:
            yield (
                f"{fault}, {'' if redis else 'no '}Redis: {len(late)} of {len(ones)} runs unfit, "
                f"for the stand-ins themselves were late by up to {max(late):.0f} ms"
            )


def _about(scale: Scale, where: Isolation) -> dict[str, str]:
    about = {
        **machine.about(),
        "Redis": (machine.version_of("redis-server", "--version") or "none").partition(" sha=")[0],
        "calls": f"{scale.calls} at once, {scale.chains} times; every second agent talks",
        "gap": "longest silence of each call beyond the pacing of 20 ms; lost: of all calls",
    }
    if where.realtime:
        about["priority"] = "real time for workers, Redis and stand-ins"
    return about
