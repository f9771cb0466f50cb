"""Gaps of calls in which something broke, as rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from firsthop.bench.global_ import faults
from firsthop.bench.recovery.gaps import longest_gap_ms, percentile
from firsthop.bench.recovery.run import DOWN_P50, DOWN_P99, UP_P50, UP_P99
from firsthop.bench.report import Row, Target

TO_AUDIO: Final = "re-offer → audio"
SILENT: Final = "silent in all"
#: Down and up, in ms, beyond the round trip between edge and cluster: so long it takes until one
#: can miss what the other did not send, and until the other has what goes another way.
_TARGETS: Final = {
    faults.EDGE: (300.0, 3500.0),
    faults.LINK: (300.0, 300.0),
    # The edge is as good as lost.
    faults.BOTH_LINKS: (300.0, 3500.0),
    faults.RELAY: (300.0, 300.0),
}
_TO_AUDIO: Final = Target("value", 4000.0)
#: By how much the p99 may exceed that of calls while nothing is broken.
_NO_EFFECT_MS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Gaps:
    """The longest silences of one call, in ms."""

    up_ms: float
    down_ms: float

    @classmethod
    def of(
        cls, up_ms: Sequence[float], down_ms: Sequence[float], begin_ms: float, end_ms: float
    ) -> Gaps:
        """Find them, given the Unix ms of packets and of the two moments between them."""
        up, down = (
            longest_gap_ms([int(at * 1e6) for at in seen], int(begin_ms * 1e6), int(end_ms * 1e6))
            for seen in (up_ms, down_ms)
        )
        return cls(up, down)


@dataclass(frozen=True, slots=True)
class Again:
    """A call whose cluster was gone, and that was placed again, in ms."""

    to_audio_ms: float
    """From the offer to the first packet of sound."""
    silent_ms: float
    """From the last packet of the old call."""


@dataclass(frozen=True, slots=True)
class From:
    """Where calls come from."""

    region: str
    round_trip_ms: float
    """Between the edge there and the cluster."""

    @property
    def name(self) -> str:
        """What its rows are called."""
        return f"from {self.region}"


def rows(
    seen: Mapping[tuple[From, str], Sequence[Gaps]],
    again: Mapping[From, Sequence[Again]],
) -> Iterator[Row]:
    """Yield percentiles over all calls of each place and fault."""
    for (source, fault), found in seen.items():
        calm = seen.get((source, faults.NONE), ())
        up, down = [one.up_ms for one in found], [one.down_ms for one in found]
        calm_up, calm_down = [one.up_ms for one in calm], [one.down_ms for one in calm]
        yield _row(source, fault, UP_P50, up, 50, None)
        yield _row(source, fault, UP_P99, up, 99, _target(source, fault, 1, calm_up))
        yield _row(source, fault, DOWN_P50, down, 50, None)
        yield _row(source, fault, DOWN_P99, down, 99, _target(source, fault, 0, calm_down))
    for source, calls in again.items():
        to_audio, silent = [one.to_audio_ms for one in calls], [one.silent_ms for one in calls]
        yield _row(source, faults.REGION, f"{TO_AUDIO} p50", to_audio, 50, None)
        yield _row(source, faults.REGION, f"{TO_AUDIO} p99", to_audio, 99, _TO_AUDIO)
        yield _row(source, faults.REGION, f"{SILENT} p50", silent, 50, None)
        yield _row(source, faults.REGION, f"{SILENT} p99", silent, 99, None)


def _row(
    source: From,
    fault: str,
    metric: str,
    found: Sequence[float],
    percent: float,
    target: Target | None,
) -> Row:
    return Row(
        case=fault,
        contender=source.name,
        metric=metric,
        value=percentile(found, percent),
        unit="ms",
        low=min(found),
        high=max(found),
        target=target,
        note=f"{len(found)} calls",
    )


def _target(source: From, fault: str, place: int, calm: Sequence[float]) -> Target | None:
    if fault == faults.REDIS:
        return Target("value", round(percentile(calm, 99) + _NO_EFFECT_MS, 1)) if calm else None
    bounds = _TARGETS.get(fault)
    return None if bounds is None else Target("value", bounds[place] + source.round_trip_ms)
