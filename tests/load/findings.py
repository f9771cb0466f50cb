"""What a load test may have found."""

from __future__ import annotations

from typing import Any

from firsthop.load.measured import Instant, Measured, Move
from firsthop.load.own import Own

TOTALS = {
    "waiting": 0,
    "connecting": 0,
    "connected": 3,
    "failed": 1,
    "sent": 900,
    "received": 880,
    "lost": 20,
    "returned": 0,
    "unreturned": 0,
    "reordered": 2,
    "duplicated": 1,
    "late": 0,
    "unsent": 0,
    "messages": 3,
    "sent_bytes": 90_000,
    "received_bytes": 88_000,
}


def measured(**changes: Any) -> Measured:
    """Three calls of five that stood, with an echo."""
    gaps = [0] * 2000
    gaps[79], gaps[80], gaps[130], gaps[1999] = 500, 370, 9, 1
    values: dict[str, Any] = {
        "url": "http://localhost:8080/whip",
        "door": "whip",
        "asked": 5,
        "rate": 20.0,
        "talks": True,
        "started": 5,
        "stood": 3,
        "failures": {"http 503": 1, "lost": 1},
        "examples": {"http 503": "no room for <b>another</b> call"},
        "ramp_s": 0.25,
        "seconds": 6.0,
        "stages_ms": {
            "answer": [3.0, 2.0, 4.0, 5.0],
            "ice": [10.0, 11.0, 12.0],
            "connected": [20.0, 21.0, 22.0],
            "in all": [23.0, 24.0, 25.0],
        },
        "totals": TOTALS,
        "gaps": gaps,
        "jitter_ms": [0.4, 0.5, 2.0],
        "round_trip_ms": [0.5],
        "delays_ms": [52.0, 54.0, 70.0],
        "marks_missed": 2,
        "listeners": 3,
        "dropped": {"lost": 1},
        "moves": [Move(1.25, 48.0, 3.5), Move(1.5, 61.0, None)],
        "moves_failed": {"http 401": 1},
        "move_examples": {"http 401": "no <i>key</i>"},
        "began": 1_790_000_000.25,
        "instants": [
            Instant(1.0, 4, 1, 0, 10, 0, placed=4, refused=1, longest_gap_ms=20.5),
            Instant(2.0, 0, 3, 2, 150, 5, dropped=1, moved=2, longest_gap_ms=85.0),
        ],
        "own": Own(0.2, 0.01, 2.0, 0.0),
    }
    return Measured(**values | changes)
