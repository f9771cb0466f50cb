"""One call of a load test, from its offer on, and the clients that it has one after the other."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

from firsthop._native import CallerReport
from firsthop.load.doors import Placed

#: How long a client may take from its answer to being connected.
_CONNECT_S: Final = 15.0
#: What a client's own failure is called where it was never told.
_NOT_CONNECTED: Final = "dtls"
_NOT_REACHED: Final = "ice"


@dataclass(frozen=True, slots=True)
class Client:
    """A client whose offer was answered."""

    caller: int
    """As `firsthop._native.Callers` knows it."""
    placed: Placed
    answer_ms: float
    """From its offer to the answer."""
    answered: float
    """When, by `time.monotonic`."""

    def cause(self, report: CallerReport) -> str | None:
        """Return why there is no call; None if there is, or may be yet.

        Args:
            report: What it tells now.
        """
        if report.failure is not None:
            return report.failure
        state: str = report.state
        if state in {"failed", "closed"}:
            return state
        if state == "connected" or time.monotonic() - self.answered < _CONNECT_S:
            return None
        return _NOT_CONNECTED if "ice" in report.stages_ms else _NOT_REACHED


@dataclass(slots=True, eq=False)
class Call:
    """One call."""

    listens: bool = False
    """Whether its clients time the marks that they hear."""
    client: Client | None = None
    """None: it is not answered."""
    next: Client | None = None
    """The client that it is moving to."""
    moving: bool = False
    """Whether it was asked to go on elsewhere, and is about to."""
    first: CallerReport | None = None
    """What its first client told as it was left; None: it is still there."""
    left: list[CallerReport] = field(default_factory=list)
    """What the clients told that it left while media was measured."""
    answer_ms: float = 0.0
    """Of its first client."""
    cause: str | None = None
    """Why it failed, or was dropped."""
    settled: bool = False
    """Whether it has been connected, or failed."""

    def stages_ms(self, report: CallerReport) -> dict[str, float]:
        """Return how long its set-up took, of what its client reports."""
        stages = {"answer": self.answer_ms, **(self.first or report).stages_ms}
        if "connected" in stages:
            stages["in all"] = self.answer_ms + stages["connected"]
        return stages
