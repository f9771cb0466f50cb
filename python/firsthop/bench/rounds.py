"""Rounds: contenders in turns, unfit ones told, medians and ratios of what each round saw."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from statistics import median

from firsthop.bench.contender import Contender
from firsthop.bench.load import Cost
from firsthop.bench.report import Row

CPU = "CPU per packet"
#: A round that is unfit, as by loss, is measured so often before that is how it is.
_TRIES = 3
#: Idle work below this part of a figure is not mentioned.
_WORTH_TELLING = 0.005


def turns(
    running: Sequence[Contender], rounds: int, rng: random.Random
) -> Iterator[tuple[int, Contender]]:
    """Yield (round, contender), in another order each round; round 0 is to warm up."""
    for turn in range(rounds + 1):
        for contender in rng.sample(running, len(running)):
            yield turn, contender


def cost_rows(
    case: str,
    in_turns: Iterator[tuple[int, Contender]],
    measure: Callable[[Contender, int], Cost],
) -> list[Row]:
    """Measure CPU per packet in turns: one row per contender, without ratios.

    A row is of the rounds that are fit, or of all, and marked, if there is none.
    """
    seen: dict[Contender, list[Cost]] = defaultdict(list)
    for turn, contender in in_turns:
        for _ in range(_TRIES):
            cost = measure(contender, turn)
            if cost.unfit is None:
                break
        if turn > 0:
            seen[contender].append(cost)
    rows = []
    for contender, costs in seen.items():
        fit = [cost for cost in costs if cost.unfit is None]
        figures = [cost.ns_per_packet for cost in fit or costs]
        row = Row.of_rounds(case, contender.name, CPU, "ns", figures)
        notes = [contender.note] if contender.note else []
        # Told, because a target may be met by no more than this.
        taken_off = median(cost.taken_off for cost in fit or costs)
        if taken_off >= _WORTH_TELLING:
            notes.append(f"{taken_off:.1%} idle work taken off")
        reasons = Counter(cost.unfit for cost in costs if cost.unfit is not None)
        notes += [f"{reason} in {many} of {len(costs)} rounds" for reason, many in reasons.items()]
        rows.append(replace(row, note="; ".join(notes), unfit=not fit))
    return rows


def relative(rows: Sequence[Row], reference: str) -> list[Row]:
    """Fill in ratios to the row of one contender, and put the smallest first."""
    base = next((row.value for row in rows if row.contender == reference), None)
    ordered = sorted(rows, key=lambda row: row.value)
    if not base:
        return ordered
    return [replace(row, reference=reference, ratio=row.value / base) for row in ordered]
