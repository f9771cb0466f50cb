"""How long a caller may say nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from firsthop.realtime.session import ServerVad, Session


class Patience:
    """Waits for a caller as long as the session says. It owns the timer.

    Args:
        session: Says how long, in ``idle_timeout_ms``; by default, for ever.
        busy: Whether there is something else to wait for first.
        over: Called with that time, in ms, when the caller has said nothing for so long.
    """

    def __init__(
        self, session: Session, busy: Callable[[], bool], over: Callable[[int], None]
    ) -> None:
        self._session = session
        self._busy = busy
        self._over = over
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> bool:
        """Whether it waits now."""
        return self._timer is not None

    def expect(self) -> None:
        """Wait from now on, unless there is something else to wait for."""
        self.stop()
        detection = self._session.turn_detection
        timeout_ms = detection.idle_timeout_ms if isinstance(detection, ServerVad) else None
        if timeout_ms is not None and not self._busy():
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(timeout_ms / 1000, self._ring, timeout_ms)

    def stop(self) -> None:
        """Wait no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self, timeout_ms: int) -> None:
        self._timer = None
        self._over(timeout_ms)
