"""When the stages of a turn were over: what users feel, and what `firsthop bench turn` shows."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

Stage = Literal["transcript", "token", "audio"]


@dataclass(slots=True)
class TurnTimes:
    """The way of one turn through the agent, in seconds of `time.monotonic`."""

    item_id: str = ""
    """The turn, as an item of the conversation; empty if there was none: something was written."""
    decided: float = field(default_factory=time.monotonic)
    """When it was clear that the turn is over, or that an answer is due."""
    reached: dict[Stage, float] = field(default_factory=dict)
    """When the transcript, the first token, and the first sound of the answer were there."""

    def reach(self, stage: Stage) -> None:
        """Take note that a stage has its first result. Later ones change nothing."""
        self.reached.setdefault(stage, time.monotonic())

    def ms(self) -> dict[str, int]:
        """How long after the decision each stage was reached, in ms, for logs."""
        return {
            f"{stage}_ms": round((at - self.decided) * 1000) for stage, at in self.reached.items()
        }
