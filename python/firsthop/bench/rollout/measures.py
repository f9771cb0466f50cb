"""Rows of what a rehearsal found: calls by step, pods by part, and how soon a new one is of use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from firsthop.bench.report import Row, Target
from firsthop.bench.rollout.crowd import Batch
from firsthop.bench.rollout.pods import Pod
from firsthop.bench.rollout.rehearsal import LOSS, OUT, TRANSCEIVERS, Rehearsed

#: What stands for the time between steps.
NO_STEP: Final = "nothing going on"
SHORT, LONG, SPARED, AFTER = "calls", "long", "elsewhere", "later"
CALLS, DROPPED, REFUSED, LOST, GAP, MOVED = (
    "calls",
    "dropped",
    "refused",
    "lost packets",
    "worst gap",
    "moved",
)
OF_CALLS: Final = (CALLS, DROPPED, REFUSED, LOST, GAP, MOVED)
PODS: Final = "pods"
ENDED, UNREADY, DRAINED, BROKEN = "ended", "not ready after", "drained within", "went wrong"
OF_PODS: Final = (ENDED, UNREADY, DRAINED, BROKEN)
FIRST_CALL: Final = "first call after"

_NONE: Final = Target("value", 0)
_UNREADY_MS: Final = Target("value", 1_000)
_FIRST_CALL_S: Final = Target("value", 5)


def rows(found: Rehearsed) -> list[Row]:
    """Return all rows."""
    made: list[Row] = []
    for step in found.steps:
        if step.name != LOSS:
            there = [batch for batch in found.short if batch.overlaps(step.began, step.ended)]
            made += _of_calls(step.name, SHORT, there)
        if step.name == TRANSCEIVERS:
            made += _of_calls(step.name, LONG, found.long)
    quiet = [batch for batch in found.short if not _during_steps(found, batch)]
    if quiet:
        made += _of_calls(NO_STEP, SHORT, quiet)
    made += _of_loss(found)
    for part in dict.fromkeys(pod.component for pod in found.pods):
        made += _of_pods(part, [pod for pod in found.pods if pod.component == part])
    if found.took_calls_s is not None:
        made.append(
            Row.of_one(OUT, "transceiver", FIRST_CALL, found.took_calls_s, "s", _FIRST_CALL_S)
        )
    return made


def _during_steps(found: Rehearsed, batch: Batch) -> bool:
    return any(batch.overlaps(step.began, step.ended) for step in found.steps)


def _of_calls(case: str, who: str, batches: Sequence[Batch]) -> Iterator[Row]:
    yield Row.of_one(case, who, CALLS, sum(batch.calls for batch in batches), "")
    yield Row.of_one(case, who, DROPPED, sum(batch.dropped for batch in batches), "", _NONE)
    yield Row.of_one(case, who, REFUSED, sum(batch.refused for batch in batches), "", _NONE)
    received = sum(batch.received for batch in batches)
    lost = sum(batch.lost for batch in batches)
    yield Row.of_one(case, who, LOST, lost, "", _NONE, f"of {received + lost:,}")
    yield Row.of_one(case, who, GAP, max((batch.gap_ms for batch in batches), default=0.0), "ms")
    yield Row.of_one(case, who, MOVED, sum(batch.moved for batch in batches), "")


def _of_loss(found: Rehearsed) -> Iterator[Row]:
    if found.standing:
        heard = sum(batch.heard for batch in found.standing)
        yield Row.of_one(LOSS, SPARED, CALLS, found.spared, "")
        yield Row.of_one(LOSS, SPARED, DROPPED, max(found.spared - heard, 0), "", _NONE)
    if found.after:
        yield from _of_calls(LOSS, AFTER, found.after)


def _of_pods(part: str, pods: Sequence[Pod]) -> Iterator[Row]:
    ended = [pod for pod in pods if pod.asked_to_end is not None and not pod.lost]
    yield Row.of_one(PODS, part, ENDED, len(ended), "")
    unready = [
        1000 * (pod.unready - pod.asked_to_end)
        for pod in ended
        if pod.unready is not None and pod.asked_to_end is not None
    ]
    if unready:
        yield Row.of_one(PODS, part, UNREADY, max(unready), "ms", _UNREADY_MS)
    drained = [
        pod.ended - pod.asked_to_end
        for pod in ended
        if pod.ended is not None and pod.asked_to_end is not None
    ]
    if drained:
        grace_s = max(pod.deployment.grace_s for pod in ended)
        yield Row.of_one(PODS, part, DRAINED, max(drained), "s", Target("value", grace_s))
    broken = [pod for pod in pods if pod.problems]
    yield Row.of_one(PODS, part, BROKEN, len(broken), "", _NONE)
