"""A circuit breaker: a cache that fails is left alone for a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from firsthop.flowcache.base import FlowCacheError

#: Failures in a row that open it.
FAILURES: Final = 5
#: How long it stays open at first, in seconds, and at most.
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
#: How long it has to have been closed for the next pause to be a short one again, in seconds.
_SETTLED: Final = 60.0


class Breaker:
    """Open after failures in a row; then one probe at a time, after ever longer pauses, closes it.

    Whoever is allowed to ask owes a report of how it went. Times are of one clock that only goes
    forward, in seconds.

    Args:
        changed: Told the last failure when it opens, and None when it closes.
    """

    def __init__(self, changed: Callable[[str | None], None]) -> None:
        self._changed = changed
        self._failures = 0
        self._pause = FIRST_PAUSE
        self._probe_at: float | None = None
        self._probing = False
        self._closed_at = float("-inf")

    @property
    def is_open(self) -> bool:
        """Whether the cache is left alone."""
        return self._probe_at is not None

    def allows(self, now: float) -> bool:
        """Whether to ask the cache now; while open, that is to be the probe."""
        if self._probe_at is None:
            return True
        if now < self._probe_at:
            return False
        # A probe whose outcome nobody reports holds up the next for one pause, and not forever.
        self._probing, self._probe_at = True, now + self._pause
        return True

    def succeeded(self, now: float) -> None:
        """Note that the cache answered in time."""
        self._failures = 0
        if self._probe_at is not None:
            self._probe_at, self._probing, self._closed_at = None, False, now
            self._changed(None)

    def failed(self, now: float, reason: str) -> None:
        """Note that the cache failed or took too long, and in a word how."""
        if self._probe_at is not None:
            # While it is open only the probe counts: others were on their way when it opened.
            if self._probing:
                self._lengthen_pause()
                self._probing, self._probe_at = False, now + self._pause
            return
        self._failures += 1
        if self._failures < FAILURES:
            return
        if now - self._closed_at > _SETTLED:
            self._pause = FIRST_PAUSE
        else:
            self._lengthen_pause()
        self._failures, self._probe_at = 0, now + self._pause
        self._changed(reason)

    def _lengthen_pause(self) -> None:
        self._pause = min(2 * self._pause, LONGEST_PAUSE)


def failure(error: BaseException) -> str:
    """Return what to say of an error: its kind, for its text may name the server."""
    return error.reason if isinstance(error, FlowCacheError) else type(error).__name__
