"""A call that is to go on elsewhere: its caller is asked when nobody speaks, and then let go."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Final

from firsthop.calls.terms import Terms
from firsthop.realtime.events import as_json, new_id

#: What asks a caller to go on elsewhere, and what tells where the conversation went on.
HANDOVER: Final = "firsthop.handover"
HANDED_OVER: Final = "firsthop.handed_over"

#: So long nobody has spoken when a moment counts as quiet, in seconds: who pauses goes on sooner.
_QUIET_SECONDS: Final = 0.5
#: So long the caller may stay once another call goes on with his, in seconds.
_STAY_SECONDS: Final = 10.0
#: So long after the call's end the secret is good, in seconds: who is late may still come.
_GRACE_SECONDS: Final = 5

#: Seals the terms of the call that goes on with another, until a time in Unix seconds.
SealTerms = Callable[[Terms, int], str]


class Leaving:
    """Finds the moment at which the caller is asked, and ends a call that was left.

    It owns the timers of both. Until `begin`, `noticed` does nothing.

    Args:
        quiet: Whether nobody speaks, and nobody waits for an answer.
        hang_up: Ends the call.
    """

    def __init__(self, quiet: Callable[[], bool], hang_up: Callable[[], None]) -> None:
        self._quiet = quiet
        self._hang_up = hang_up
        self._ask: Callable[[], None] | None = None
        self._begun = False
        self._latest: asyncio.TimerHandle | None = None
        self._settled: asyncio.TimerHandle | None = None
        self._stay: asyncio.TimerHandle | None = None

    @property
    def left(self) -> bool:
        """Whether another call goes on with this one."""
        return self._stay is not None

    def begin(self, latest: float, ask: Callable[[], None]) -> None:
        """Wait for a quiet moment, if that has not begun.

        Args:
            latest: When the wait is over whoever speaks, in seconds of the loop's clock.
            ask: Asks the caller to go; called once.
        """
        if self._begun:
            return
        self._begun, self._ask = True, ask
        loop = asyncio.get_running_loop()
        self._latest = loop.call_at(max(latest, loop.time()), self._now)
        self.noticed()

    def noticed(self) -> None:
        """Take note that something happened: somebody may have begun or ceased to speak."""
        if self._ask is None:
            return
        if not self._quiet():
            self._unsettle()
        elif self._settled is None:
            loop = asyncio.get_running_loop()
            self._settled = loop.call_later(_QUIET_SECONDS, self._if_quiet)

    def let_go(self) -> None:
        """Take note that another call goes on with this one, which may last a little longer."""
        self.stop()
        # It has gone without being asked to, or is about to.
        self._begun = True
        loop = asyncio.get_running_loop()
        self._stay = loop.call_later(_STAY_SECONDS, self._hang_up)

    def stop(self) -> None:
        """Wait for nothing any more."""
        self._ask = None
        self._unsettle()
        for timer in (self._latest, self._stay):
            if timer is not None:
                timer.cancel()

    def _if_quiet(self) -> None:
        self._settled = None
        if self._quiet():
            self._now()

    def _now(self) -> None:
        ask, self._ask = self._ask, None
        self.stop()
        if ask is not None:
            ask()

    def _unsettle(self) -> None:
        if self._settled is not None:
            self._settled.cancel()
            self._settled = None


def invitation(terms: Terms, left_s: float, seal: SealTerms) -> tuple[str, str]:
    """Return the event that asks a caller to go on elsewhere, as JSON, and that for sidebands.

    Sidebands hold API keys of their own, and are not to take the caller's place.

    Args:
        terms: Of the call that goes on with this one.
        left_s: How long this one lasts at most, in seconds.
        seal: Makes the secret.
    """
    expires_at = math.ceil(time.time() + left_s) + _GRACE_SECONDS
    secret = {"value": seal(terms, expires_at), "expires_at": expires_at}
    event = {"type": HANDOVER, "event_id": new_id("event"), "seconds": math.floor(left_s)}
    return as_json({**event, "client_secret": secret}), as_json(event)
