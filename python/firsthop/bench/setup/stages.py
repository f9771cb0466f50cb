"""What a call reached and when, and the rows that many calls become."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from statistics import median
from typing import Any, Final

from firsthop.bench.errors import BenchError
from firsthop.bench.report import Row, Target
from firsthop.bench.setup.servers import DIRECT, RELAYED, SNAP

ANSWER, ICE, CONNECTED = "answer", "ICE", "connected"
AUDIO, CHANNEL = "first audio", "data channel"
STAGES: Final = (ANSWER, ICE, CONNECTED, AUDIO, CHANNEL)
#: What `page.js` calls those that follow the answer.
_NAMES: Final = {ICE: "ice", CONNECTED: "connected", AUDIO: "audio", CHANNEL: "channel"}
TRIPS: Final = "round trips"
WHOLE: Final = "POST → connected"
ADDED: Final = "added by the relay"
EVERYWHERE: Final = "all distances"

_CONNECTED_TRIPS, _CONNECTED_MS = 2, 15.0
_AUDIO_TRIPS, _AUDIO_MS = 3, 40.0
_CHANNEL_TRIPS, _SNAP_TRIPS = 4.0, 2.0
_WHOLE_MS: Final = 20.0
_ADDED_MS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Reached:
    """When one call reached its stages, in milliseconds."""

    answer_ms: float
    """From the POST."""
    after_answer_ms: Mapping[str, float]
    """From the answer: the other stages."""

    @classmethod
    def of(cls, reached: Mapping[str, Any]) -> Reached:
        """Read what the page found.

        Args:
            reached: In milliseconds from the POST, by the page's names of stages.

        Raises:
            BenchError: A stage was not reached.
        """
        missing = [stage for stage, name in _NAMES.items() if name not in reached]
        if missing:
            raise BenchError(f"a call did not reach: {', '.join(missing)}")
        answer_ms = float(reached["answer"])
        after = {stage: float(reached[name]) - answer_ms for stage, name in _NAMES.items()}
        return cls(answer_ms, after)

    def ms(self, stage: str) -> float:
        """The time of one stage: the answer's from the POST, the others' from the answer."""
        return self.answer_ms if stage == ANSWER else self.after_answer_ms[stage]


Found = Mapping[float, Mapping[str, Sequence[Reached]]]
"""The calls, by round trip (ms) and server."""


def rows(found: Found) -> list[Row]:
    """Return all rows: of each round trip, milliseconds and round trips of each stage."""
    made = []
    for rtt_ms, servers in found.items():
        for name, calls in servers.items():
            for stage in STAGES if calls else ():
                made.append(_in_ms(rtt_ms, name, stage, calls))
                made += _in_trips(rtt_ms, name, stage, found)
        if rtt_ms == 0:
            made += [_whole(name, calls) for name, calls in servers.items() if calls]
    return [*made, *_added(found)]


def case_of(rtt_ms: float) -> str:
    """What rows of a round trip are called."""
    return f"{rtt_ms:g} ms RTT"


def _in_ms(rtt_ms: float, name: str, stage: str, calls: Sequence[Reached]) -> Row:
    row = Row.of_rounds(case_of(rtt_ms), name, stage, "ms", [call.ms(stage) for call in calls])
    return bound(row, target_ms(stage, rtt_ms)) if _is_ours(name) else row


def target_ms(stage: str, rtt_ms: float) -> float | None:
    """Return within which time from the answer a stage is to be reached, if there is a target."""
    return {
        CONNECTED: _CONNECTED_TRIPS * rtt_ms + _CONNECTED_MS,
        AUDIO: _AUDIO_TRIPS * rtt_ms + _AUDIO_MS,
    }.get(stage)


def _in_trips(rtt_ms: float, name: str, stage: str, found: Found) -> Iterator[Row]:
    """Yield how many round trips a stage takes, if one without distance was measured."""
    near = found.get(0, {}).get(name)
    if not rtt_ms or not near:
        return
    base = median(call.ms(stage) for call in near)
    trips = [_tenths((call.ms(stage) - base) / rtt_ms) for call in found[rtt_ms][name]]
    row = Row.of_rounds(case_of(rtt_ms), name, f"{stage}, {TRIPS}", "RTT", trips)
    most = _SNAP_TRIPS if name == SNAP else _CHANNEL_TRIPS
    yield bound(row, most if stage == CHANNEL and _is_ours(name) else None)


def _whole(name: str, calls: Sequence[Reached]) -> Row:
    whole = [call.answer_ms + call.ms(CONNECTED) for call in calls]
    row = Row.of_rounds(case_of(0), name, WHOLE, "ms", whole)
    return bound(row, _WHOLE_MS if _is_ours(name) else None)


def _added(found: Found) -> Iterator[Row]:
    """Yield what the relay adds from the answer until a call is connected.

    Calls are compared with those of the same turn, over all distances: it does not depend on them.
    """
    differences = {
        rtt_ms: [
            relayed.ms(CONNECTED) - direct.ms(CONNECTED)
            for relayed, direct in zip(
                servers.get(RELAYED, ()), servers.get(DIRECT, ()), strict=False
            )
        ]
        for rtt_ms, servers in found.items()
    }
    if pooled := list(chain.from_iterable(differences.values())):
        yield bound(Row.of_rounds(EVERYWHERE, RELAYED, ADDED, "ms", pooled), _ADDED_MS)
    for rtt_ms, of_turns in differences.items():
        if rtt_ms and of_turns:
            trips = [_tenths(ms / rtt_ms) for ms in of_turns]
            row = Row.of_rounds(case_of(rtt_ms), RELAYED, f"{ADDED}, {TRIPS}", "RTT", trips)
            yield bound(row, 0.0)


def bound(row: Row, most: float | None) -> Row:
    """Return a row with a target, if there is one."""
    return row if most is None else replace(row, target=Target("value", most))


def _is_ours(name: str) -> bool:
    return name in (DIRECT, RELAYED, SNAP)


def _tenths(trips: float) -> float:
    """Round trips come whole; what is less than a twentieth of one is a computer's time."""
    return round(trips, 1) + 0.0
