"""How old is what one source has told?"""

from __future__ import annotations

import time
from typing import Final

import structlog

from firsthop.telemetry.metrics import Metrics

log = structlog.get_logger()

#: From when on a source counts as stale, in seconds.
_STALE: Final = 5.0


class Freshness:
    """Exports the age of what a source told last, and logs when it gets stale.

    Args:
        source: Its name in metrics and logs.
        metrics: Where the age is read.
    """

    def __init__(self, source: str, metrics: Metrics) -> None:
        self._source = source
        self._good_at = time.monotonic()
        self._stale = False
        metrics.fleet_view_age_seconds.labels(source).set_function(self._age)

    def note(self, problem: str | None) -> None:
        """Take how the source did just now: None is good."""
        if problem is None:
            if self._stale:
                log.info("fleet.fresh", source=self._source)
            self._good_at, self._stale = time.monotonic(), False
        elif not self._stale and self._age() > _STALE:
            self._stale = True
            effect = "what it told last stays"
            log.warning("fleet.stale", source=self._source, reason=problem, effect=effect)

    def _age(self) -> float:
        return time.monotonic() - self._good_at
