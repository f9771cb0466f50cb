"""The networks that speech goes through, and how much of it does."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from firsthop.bench.link import Conditions
from firsthop.bench.quality.speech import MOST_CLIPS

LOSSES: Final = (0.0, 0.05, 0.1, 0.2)
JITTERS_MS: Final = (0.0, 30.0, 60.0)
#: Packets that are lost in a row, on average, where they are lost in bursts.
_BURST: Final = 3.0
_REORDER: Final = 0.05


@dataclass(frozen=True, slots=True)
class Case:
    """A network."""

    loss: float = 0.0
    """Part of packets."""
    jitter_ms: float = 0.0
    burst: float = 1.0
    """Packets lost in a row, on average; 1: each by itself."""
    reorder: float = 0.0
    """Part of packets."""

    @property
    def name(self) -> str:
        """What rows of it are called."""
        parts = []
        if self.loss:
            parts.append(f"{100 * self.loss:g} % lost{' in bursts' if self.burst > 1 else ''}")
        if self.reorder:
            parts.append(f"{100 * self.reorder:g} % reordered")
        if self.jitter_ms:
            parts.append(f"{self.jitter_ms:g} ms jitter")
        return ", ".join(parts) or "a clean path"

    def conditions(self, seed: int) -> Conditions:
        """Return it for a `Link`. With one seed, what one case loses, one that loses more does."""
        return Conditions(
            jitter_ms=self.jitter_ms,
            loss=self.loss,
            burst=self.burst,
            reorder=self.reorder,
            seed=seed,
        )


CLEAN: Final = Case()
TARGET: Final = Case(loss=0.1, jitter_ms=30)
"""The one that the target is about."""


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    cases: Sequence[Case]
    clips: int
    """In each call."""
    traces: int
    """Of each case: a call each, with each listener."""
    at_once: int = 6
    """Traces that are played at the same time: as many calls of each listener."""


FULL: Final = Scale(
    cases=(
        *(
            replace(CLEAN, loss=loss, jitter_ms=jitter_ms)
            for jitter_ms, loss in itertools.product(JITTERS_MS, LOSSES)
        ),
        Case(loss=0.1, burst=_BURST),
        Case(loss=0.1, jitter_ms=30, burst=_BURST),
        Case(loss=0.2, jitter_ms=30, burst=_BURST),
        Case(reorder=_REORDER),
        Case(reorder=_REORDER, jitter_ms=30),
    ),
    clips=MOST_CLIPS,
    traces=2,
)
QUICK: Final = Scale(cases=(CLEAN, replace(TARGET, jitter_ms=0), TARGET), clips=2, traces=2)
