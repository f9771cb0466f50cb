"""How long a call is silent, drawn from what `firsthop bench recovery` measured, or from clocks."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from firsthop.plan.measurements import shipped

Floats = NDArray[np.float64]

PACKET_MS: Final = shipped().value("packet_ms")
CHECK_MS: Final = shipped().value("check") * 1000
SLOW_CHECK_MS: Final = shipped().value("check_slow") * 1000
#: Standard deviations from the median to p99 of a normal distribution.
_P99: Final = 2.326


def looked_up(rng: np.random.Generator, count: int) -> Floats:
    """Draw what a look-up in Redis takes: log-normal through the measured p50 and p99, in ms."""
    p50, p99 = shipped().value("move_redis_p50"), shipped().value("move_redis_p99")
    return rng.lognormal(math.log(p50), math.log(p99 / p50) / _P99, count)


def next_check(rng: np.random.Generator, slow: NDArray[np.bool_]) -> Floats:
    """Draw the time to each client's next check, in ms; those of `slow` check every 5 s."""
    return rng.random(len(slow)) * np.where(slow, SLOW_CHECK_MS, CHECK_MS)
