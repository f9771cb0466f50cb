"""What the caller has said without an answer."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Final

from firsthop.call import SpeechEnded

#: Turns that may wait for a `response.create`, and their sound in bytes. The oldest go first.
_MAX_TURNS: Final = 20
_MAX_BYTES: Final = 32 * 1024 * 1024


class PendingTurns:
    """Turns that wait to be answered."""

    def __init__(self) -> None:
        self._turns: deque[SpeechEnded] = deque()

    def __len__(self) -> int:
        return len(self._turns)

    def keep(self, turn: SpeechEnded) -> None:
        """Let one more wait."""
        self._turns.append(turn)
        while (
            len(self._turns) > _MAX_TURNS
            or sum(len(turn.audio) for turn in self._turns) > _MAX_BYTES
        ):
            self._turns.popleft()

    def take(self) -> SpeechEnded:
        """Return all of them as one turn. There has to be one."""
        turns = list(self._turns)
        self._turns.clear()
        return replace(turns[-1], audio=b"".join(turn.audio for turn in turns))
