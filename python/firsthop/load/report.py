"""What a load test found, in figures: for a terminal, and for programs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from firsthop.load.measured import STAGES, Instant, Measured, gap_percentile, percentile

PERCENTS: Final = (50, 95, 99)

NO_ECHO: Final = "no echo: no mouth-to-ear delay"
_SILENT: Final = "callers say nothing: no mouth-to-ear delay"

Figures = dict[str, float]
"""Percentiles, as ``p50``, and ``max``."""


def figures(values: Sequence[float]) -> Figures | None:
    """Return percentiles and the largest of `values`; None of nothing."""
    if not values:
        return None
    return {f"p{percent}": percentile(values, percent) for percent in PERCENTS} | {
        "max": max(values)
    }


def gap_figures(gaps: Sequence[int]) -> Figures | None:
    """Return percentiles and the largest of a histogram; `inf` is longer than all of its bins."""
    found = {f"p{percent}": gap_percentile(gaps, percent) for percent in PERCENTS}
    found["max"] = gap_percentile(gaps, 100)
    known = {name: value for name, value in found.items() if value is not None}
    return known or None


def as_json(measured: Measured) -> dict[str, Any]:
    """Return the report as one JSON object. Times are in ms; null: there is nothing to tell."""
    totals = measured.totals
    return {
        "url": measured.url,
        "door": measured.door,
        "ended_early": measured.ended_early,
        "calls": {
            "asked": measured.asked,
            "started": measured.started,
            "stood": measured.stood,
            "failed": measured.failed,
            "unfinished": measured.unfinished,
            "dropped": sum(measured.dropped.values()),
            "moved": len(measured.moves),
            "per_second": _rounded(measured.started / measured.ramp_s if measured.ramp_s else 0.0),
        },
        "failures": {
            cause: {"calls": count, "example": measured.examples.get(cause)}
            for cause, count in measured.failures.items()
        },
        "dropped": dict(measured.dropped),
        "handovers": {
            "moved": len(measured.moves),
            "failed": sum(measured.moves_failed.values()),
            "failures": {
                cause: {"moves": count, "example": measured.move_examples.get(cause) or None}
                for cause, count in measured.moves_failed.items()
            },
            "took_ms": _json(figures([move.took_ms for move in measured.moves])),
            "gap_ms": _json(figures(measured.move_gaps_ms)),
        },
        "setup_ms": {
            stage: {"calls": len(measured.stages_ms[stage])}
            | (_json(figures(measured.stages_ms[stage])) or {})
            for stage in STAGES
            if measured.stages_ms.get(stage)
        },
        "media": {
            "seconds": _rounded(measured.seconds),
            "talks": measured.talks,
            **{name: totals[name] for name in ("sent", "received", "lost")},
            "lost_percent": _number(measured.lost_percent),
            "unreturned": measured.unreturned,
            **{name: totals[name] for name in ("reordered", "duplicated", "messages")},
            **{name: totals[name] for name in ("sent_bytes", "received_bytes")},
            "gap_ms": _json(gap_figures(measured.gaps)),
            "jitter_ms": _json(figures(measured.jitter_ms)),
            "round_trip_ms": _json(figures(measured.round_trip_ms)),
            "mouth_to_ear_ms": _json(figures(measured.delays_ms)),
            "marks_heard": len(measured.delays_ms),
            "marks_missed": measured.marks_missed,
            "listeners": measured.listeners,
        },
        "began_unix_s": _rounded(measured.began),
        "course": [_course(instant) for instant in measured.instants],
        "load": {
            "busiest_thread": _rounded(measured.own.busiest),
            "waited_for_a_core": _number(measured.own.waited),
            "loop_late_p99_ms": _rounded(measured.own.late_ms),
            "late_packets": _rounded(measured.own.late_packets),
            "unsent": measured.own.unsent,
            "doubts": measured.own.doubts(),
        },
    }


def table(measured: Measured) -> RenderableType:
    """Return the report for a terminal of 80 columns."""
    return Group(*_parts(measured))


def _parts(measured: Measured) -> Iterator[RenderableType]:
    yield Text(headline(measured), "bold" if not measured.failed else "bold red")
    if measured.failures:
        grid = _grid("failed because of", "calls", "")
        for cause, count in measured.failures.items():
            example = Text(measured.examples.get(cause, ""), "dim", overflow="fold")
            grid.add_row(Text(cause, "red"), f"{count:,}", example)
        yield grid
    if measured.moves_failed:
        grid = _grid("not moved because of", "times", "")
        for cause, count in measured.moves_failed.items():
            example = Text(measured.move_examples.get(cause, ""), "dim", overflow="fold")
            grid.add_row(Text(cause, "red"), f"{count:,}", example)
        yield grid
    rows = list(rows_of(measured))
    if rows:
        grid = _grid("ms", "p50", "p95", "p99", "max", "")
        for name, found, note in rows:
            cells = [shown(found[key]) for key in ("p50", "p95", "p99", "max")]
            grid.add_row(name, *cells, Text(note, "dim"))
        yield grid
    yield from (Text(line) for line in lines(measured))
    for doubt in measured.own.doubts():
        yield Text(f"doubtful: {doubt}", "yellow")


def headline(measured: Measured) -> str:
    """Return in one line what became of the calls."""
    calls = f"{measured.stood:,} of {measured.started:,} calls stood"
    if measured.failed:
        calls += f", {measured.failed:,} failed"
    if dropped := sum(measured.dropped.values()):
        calls += f" ({dropped:,} of them dropped)"
    if measured.moves:
        calls += f", {len(measured.moves):,} moved"
    if measured.unfinished:
        calls += f", {measured.unfinished:,} were being set up"
    if measured.ended_early:
        calls += f"; ended early, {measured.asked:,} were asked for"
    return calls


def rows_of(measured: Measured) -> Iterator[tuple[str, Figures, str]]:
    """Yield what has percentiles: its name, them in ms, and how many values they are of."""
    for stage, name in STAGES.items():
        found = figures(measured.stages_ms.get(stage, ()))
        if found is not None:
            yield name, found, f"{len(measured.stages_ms[stage]):,} calls"
    gaps = gap_figures(measured.gaps)
    if gaps is not None:
        yield "between packets", gaps, f"{sum(measured.gaps):,} gaps"
    for name, values, unit in (
        ("jitter (RFC 3550)", measured.jitter_ms, "calls"),
        ("round trip", measured.round_trip_ms, "calls"),
        ("mouth to ear", measured.delays_ms, "marks"),
        ("moving elsewhere", [move.took_ms for move in measured.moves], "moves"),
        ("silence at a move", measured.move_gaps_ms, "moves"),
    ):
        found = figures(values)
        if found is not None:
            yield name, found, f"{len(values):,} {unit}"


def lines(measured: Measured) -> Iterator[str]:
    """Yield what has no percentiles, a line each."""
    totals = measured.totals
    ramp = f"{measured.started:,} calls begun in {measured.ramp_s:.1f} s"
    yield f"{ramp} ({measured.rate:g} per second were asked for)"
    if measured.seconds:
        lost = measured.lost_percent
        percent = "" if lost is None else f" ({lost:.2g} %)"
        sent, received = (
            f"{totals[name]:,} {name}{_rate(measured, name)}" for name in ("sent", "received")
        )
        yield f"packets in {measured.seconds:.1f} s: {sent}, {received}"
        yield (
            f"{totals['lost']:,} lost{percent}, {totals['reordered']:,} out of order, "
            f"{totals['duplicated']:,} twice"
        )
        if measured.unreturned is not None:
            yield f"{measured.unreturned:,} of those sent did not come back"
    if not measured.talks:
        yield _SILENT
    elif not measured.echoes:
        yield NO_ECHO
    elif measured.marks_missed:
        yield f"{measured.marks_missed:,} marks did not come back"
    own = measured.own
    waited = "" if own.waited is None else f", waited for a core {own.waited:.1%} of the time"
    late = f"{own.late_packets:.2%} of its packets late" if own.late_packets else "no packet late"
    yield f"the load itself: busiest thread {own.busiest:.0%}{waited}, {late}"


def _rate(measured: Measured, name: str) -> str:
    """What a server that cannot keep up never sends is not lost: it shows here."""
    if not measured.stood:
        return ""
    return f" ({measured.totals[name] / measured.seconds / measured.stood:.1f} per s and call)"


def shown(value: float) -> str:
    """Return a time in ms with the digits that count."""
    if math.isinf(value):
        return "> 500"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _course(instant: Instant) -> dict[str, float]:
    return {name: _rounded(value) for name, value in asdict(instant).items()}


def _grid(*headings: str) -> Table:
    grid = Table(header_style="dim", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    grid.add_column(headings[0], no_wrap=True)
    for heading in headings[1:]:
        grid.add_column(heading, justify="right" if heading else "left", no_wrap=bool(heading))
    return grid


def _json(found: Figures | None) -> dict[str, float | None] | None:
    return None if found is None else {name: _number(value) for name, value in found.items()}


def _number(value: float | None) -> float | None:
    """What JSON has no number for is null."""
    return None if value is None or not math.isfinite(value) else _rounded(value)


def _rounded(value: float) -> float:
    return round(value, 3)
