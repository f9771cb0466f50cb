"""Set-up and media of each way, as rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any, Final

from firsthop.bench.errors import BenchError
from firsthop.bench.global_.caller import Call
from firsthop.bench.global_.ways import DOOR, RELAYED, Way
from firsthop.bench.report import Row
from firsthop.bench.setup.browser import CallPage
from firsthop.bench.setup.stages import STAGES, TRIPS, Reached, bound, target_ms

CANDIDATES: Final = "candidates"
SETUP, MEDIA = "set-up", "media"
RTT, JITTER, UP_LOSS, DOWN_LOSS = "RTT", "jitter", "lost up", "lost down"
MEDIA_METRICS: Final = (RTT, JITTER, UP_LOSS, DOWN_LOSS)
#: What a client asks before it offers: with an edge, nothing.
_REQUESTS: Final = 0.0


@dataclass(frozen=True, slots=True)
class SetUp:
    """How one call came about."""

    candidates_ms: float
    """From the click until the offer left."""
    requests: int
    """What the client asked who relays until then, one after the other."""
    reached: Reached

    @classmethod
    async def of(cls, page: CallPage, way: Way, sent: Callable[[], int]) -> SetUp:
        """Place a call, and hang up; `sent` counts datagrams to who relays.

        Raises:
            BenchError: It was refused, or a stage was not reached.
        """
        before = sent()
        await page.do("offer", way.how)
        requests = sent() - before
        found = await page.do("place", {"path": DOOR})
        return cls(float(found["gathered"]), requests, Reached.of(found["reached"]))


@dataclass(frozen=True, slots=True)
class Media:
    """What the media of one call went through."""

    rtt_ms: float
    jitter_ms: float
    """Down, RFC 3550 section 6.4.1."""
    up_loss: float
    """Part of packets, in [0, 1]."""
    down_loss: float

    @classmethod
    async def of(cls, call: Call) -> Media:
        """Ask the browser, and the agent.

        Raises:
            BenchError: The agent does not say, or nothing has come.
        """
        if not await call.report() or not call.heard_ms:
            raise BenchError("the agent did not tell what it heard")
        pairs = [pair for pair in await call.stats("candidate-pair") if pair.get("nominated")]
        [inbound] = await call.stats("inbound-rtp")
        answered = sum(pair["responsesReceived"] for pair in pairs)
        took_s = sum(pair["totalRoundTripTime"] for pair in pairs)
        return cls(
            rtt_ms=1000 * took_s / max(answered, 1),
            jitter_ms=1000 * inbound["jitter"],
            up_loss=call.missing / (call.missing + len(call.heard_ms)),
            down_loss=_part_lost(inbound),
        )


def _part_lost(inbound: Mapping[str, Any]) -> float:
    # What comes twice counts as less than none lost (RFC 3550 section 6.4.1).
    lost = max(inbound["packetsLost"], 0)
    return float(lost / max(lost + inbound["packetsReceived"], 1))


def setup_rows(ways: Sequence[Way], seen: Mapping[str, Sequence[SetUp]]) -> Iterator[Row]:
    """Yield milliseconds and round trips of each stage."""
    for way in ways:
        calls = seen[way.name]
        if not calls:
            continue
        found_ms = {stage: [call.reached.ms(stage) for call in calls] for stage in STAGES}
        trips = {
            stage: [round(ms / way.far_ms, 1) for ms in found] for stage, found in found_ms.items()
        }
        # Browsers take time of their own for candidates: what they ask for is counted instead.
        found_ms[CANDIDATES] = [call.candidates_ms for call in calls]
        trips[CANDIDATES] = [float(call.requests) for call in calls]
        ours = way.name == RELAYED
        for stage, found in found_ms.items():
            row = Row.of_rounds(SETUP, way.name, stage, "ms", found)
            # What `firsthop bench setup` holds without an edge.
            yield bound(row, target_ms(stage, way.far_ms) if ours else None)
        for stage, found in trips.items():
            row = Row.of_rounds(SETUP, way.name, f"{stage}, {TRIPS}", "RTT", found)
            yield bound(row, _REQUESTS if ours and stage == CANDIDATES else None)


def media_rows(ways: Sequence[Way], seen: Mapping[str, Sequence[Media]]) -> Iterator[Row]:
    """Yield what media went through, on average."""
    for way in ways:
        calls = seen[way.name]
        if not calls:
            continue
        for metric, unit, found in (
            (RTT, "ms", [call.rtt_ms for call in calls]),
            (JITTER, "ms", [call.jitter_ms for call in calls]),
            (UP_LOSS, "%", [100 * call.up_loss for call in calls]),
            (DOWN_LOSS, "%", [100 * call.down_loss for call in calls]),
        ):
            # Losses are rare: a median of few calls would be none.
            row = Row.of_rounds(MEDIA, way.name, metric, unit, found)
            yield replace(row, value=mean(found))
