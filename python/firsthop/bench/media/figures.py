"""Rows and targets, made of what was seen. No clock, no processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from firsthop.bench.media.seen import Seen
from firsthop.bench.media.servers import Aiortc, Echo, Firsthop, Pion
from firsthop.bench.report import Row, Target
from firsthop.bench.rounds import relative

CPU: Final = "CPU per session-second"
GAP: Final = "gap p99"
EARS: Final = {0.5: "mouth to ear, p50", 0.95: "mouth to ear, p95"}
HELD: Final = "sessions held by one core"
GROWTH: Final = "resident growth per session"
IDLE: Final = "CPU of a core"

CALLED: Final[dict[Echo, str]] = {"pcm": "PCM echo", "packets": "pass-through echo"}
RAMP: Final = f"{CALLED['packets']}, ever more sessions"
#: Of firsthop's cost, relative to a reference.
_RATIOS: Final[dict[tuple[Echo, str], float]] = {
    # Six times less.
    ("pcm", Aiortc.name): 0.1666,
    ("pcm", Pion.name): 0.8,
    ("packets", Pion.name): 0.5,
}
#: The few against which the cost of many is held, and what is called many.
FEW: Final = 10
MANY: Final = 1_000
_DEARER: Final = 1.2
_GROWTH_KB: Final = 150.0
_IDLE_PERCENT: Final = 5.0

Rounds = Mapping[str, Sequence[Seen]]
"""What was seen of each server, by its name."""


def case(echo: Echo, sessions: int) -> str:
    """What the rows of so many sessions are called."""
    return f"{CALLED[echo]}, {sessions:,} sessions"


def among(server: str, sessions: int) -> str:
    """What a server is called where rows differ in their number of sessions."""
    return f"{server}, {sessions:,}"


def reference(echo: Echo, servers: Sequence[str]) -> str:
    """Whose cost the others are relative to: the dearest that a target names."""
    named = (of for kind, of in _RATIOS if kind == echo)
    return next((of for of in named if of in servers), servers[0])


def cost_rows(echo: Echo, sessions: int, rounds: Rounds, notes: Mapping[str, str]) -> list[Row]:
    """What so many sessions cost with each server, and what the callers heard.

    Args:
        echo: What was echoed.
        sessions: How many there were.
        rounds: What each round saw.
        notes: What a reader has to know of servers.
    """
    name = case(echo, sessions)
    base = reference(echo, list(rounds))
    rows = relative(
        [_cost(name, server, seen, notes.get(server, "")) for server, seen in rounds.items()], base
    )
    bound = _RATIOS.get((echo, base))
    rows = [
        replace(row, target=Target("ratio", bound))
        if row.contender == Firsthop.name and bound is not None
        else row
        for row in rows
    ]
    for server, seen in rounds.items():
        rows += _heard(name, server, seen)
    return rows


def ramp_rows(server: str, steps: Sequence[Seen], most: int) -> Iterator[Row]:
    """How many sessions a server holds, and what they cost it, step by step.

    Args:
        server: Its name.
        steps: What was seen of ever more sessions.
        most: How many would have been tried.
    """
    for seen in steps:
        name = among(server, seen.sessions)
        yield _cost(RAMP, name, [seen], "")
        yield from _heard(RAMP, name, [seen])
    held, note = 0, "" if steps and steps[-1].sessions < most else "no more were tried"
    for seen in steps:
        if faults := list(seen.faults()):
            note = f"{seen.sessions:,}: {', '.join(faults)}"
            break
        held = seen.sessions
    target = Target("value", MANY, at_least=True) if _ours(server) and most >= MANY else None
    yield Row(RAMP, server, HELD, held, "", held, held, target=target, note=note)


def scale_rows(server: str, steps: Sequence[Seen]) -> list[Row]:
    """What a session costs among many, relative to one among few."""
    by_sessions = {seen.sessions: seen for seen in steps}
    if not {FEW, MANY} <= by_sessions.keys():
        return []
    name = f"{CALLED['packets']}, {MANY:,} sessions against {FEW}"
    few, many = (
        _cost(name, among(server, sessions), [by_sessions[sessions]], "")
        for sessions in (FEW, MANY)
    )
    few, many = (
        replace(row, reference=few.contender, ratio=row.value / few.value) for row in (few, many)
    )
    target = Target("ratio", _DEARER) if _ours(server) else None
    return [few, replace(many, target=target)]


def growth_row(echo: Echo, server: str, steps: Sequence[Seen]) -> Row | None:
    """How much memory a session takes that has talked; None if not seen of two numbers of them."""
    there = [seen for seen in steps if seen.connected == seen.sessions]
    if len(there) < 2:
        return None
    few, many = there[0], there[-1]
    grown = many.resident_bytes - few.resident_bytes
    value = grown / (many.sessions - few.sessions) / 1000
    return Row(
        "Memory",
        f"{server}, {CALLED[echo]}",
        GROWTH,
        value,
        "KB",
        value,
        value,
        target=Target("value", _GROWTH_KB) if _ours(server) else None,
        note=f"from {few.sessions} to {many.sessions:,} sessions that talk",
    )


def faults(rows: Sequence[Row]) -> Iterator[str]:
    """Yield what keeps rows from counting, in words for the report's remarks."""
    for row in rows:
        if row.unfit:
            yield f"{row.case}, {row.contender}: {row.note}"


def idle_row(server: str, seen: Seen) -> Row:
    """What sessions cost that are connected, and in which nobody speaks."""
    percent = seen.cpu_s / seen.seconds * 100
    missing = seen.sessions - seen.connected
    bound = _ours(server) and seen.sessions >= MANY
    return Row(
        f"{seen.sessions:,} idle sessions",
        server,
        IDLE,
        percent,
        "%",
        percent,
        percent,
        target=Target("value", _IDLE_PERCENT) if bound else None,
        note=f"{missing} of {seen.sessions:,} not connected" if missing else "",
        unfit=missing > 0,
    )


def _cost(name: str, server: str, rounds: Sequence[Seen], note: str) -> Row:
    """A row of the rounds that are fit; of all, and marked, if there is none."""
    fit = _fit(rounds)
    row = Row.of_rounds(name, server, CPU, "ms", [seen.cpu_ms for seen in fit or rounds])
    many = f" in {len(rounds) - len(fit)} of {len(rounds)} rounds" if len(rounds) > 1 else ""
    # One of each kind: the figures in them differ from round to round.
    faults = Counter(fault for seen in rounds for fault in list(seen.faults())[:1])
    notes = [note] if note else []
    notes += [f"{fault}{many}" for fault, _ in faults.most_common(1)]
    return replace(row, note="; ".join(notes), unfit=not fit)


def _heard(name: str, contender: str, rounds: Sequence[Seen]) -> Iterator[Row]:
    """Gaps, and how late marks came back."""
    yield Row.of_rounds(name, contender, GAP, "ms", [seen.gap_p99_ms for seen in rounds])
    for part, metric in EARS.items():
        late = [_ranked(seen.delays_ms, part) for seen in rounds if seen.delays_ms]
        if late:
            yield Row.of_rounds(name, contender, metric, "ms", late)


def _ranked(values: Sequence[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def _fit(rounds: Sequence[Seen]) -> list[Seen]:
    return [seen for seen in rounds if not any(seen.faults())]


def _ours(server: str) -> bool:
    return server == Firsthop.name
