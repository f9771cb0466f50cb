"""A WebRTC session of the engine as the line of a call."""

from __future__ import annotations

from firsthop._native import Engine


class EngineLine:
    """A WebRTC session of the engine."""

    paced = True

    def __init__(self, engine: Engine, session: int) -> None:
        self._engine = engine
        self._session = session

    def play(self, utterance: int, pcm: bytes, *, complete: bool) -> None:
        """Queue sound; it leaves in real time."""
        self._engine.play(self._session, utterance, pcm, complete=complete)

    def flush(self) -> None:
        """Stop speaking."""
        self._engine.flush(self._session)

    def send(self, text: str) -> None:
        """Send on the data channel; lost while none is open."""
        self._engine.send(self._session, text)

    def close(self) -> None:
        """Hang up."""
        self._engine.close(self._session)
