"""A WebRTC session of the engine as the line of a call, for either form of sound."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from firsthop._native import Engine
from firsthop.call import Sound
from firsthop.calls.line import pcm_of
from firsthop.errors import BackendError


class EngineLine:
    """A WebRTC session whose sound is PCM.

    Args:
        engine: Whose session it is.
        session: Its number.
        renegotiate: Answers offers in mid-call.
    """

    paced = True

    def __init__(
        self,
        engine: Engine,
        session: int,
        renegotiate: Callable[[int, str], Awaitable[str]],
    ) -> None:
        self._engine = engine
        self._session = session
        self._renegotiate = renegotiate

    async def renegotiate(self, offer: str) -> str:
        """Answer an offer in mid-call."""
        return await self._renegotiate(self._session, offer)

    def play(self, utterance: int, sound: Sound, *, complete: bool) -> None:
        """Queue sound; it leaves in real time."""
        self._engine.play(self._session, utterance, pcm_of(sound), complete=complete)

    def mirror(self, utterance: int) -> None:
        """Refuse: there are no packets to send back."""
        raise BackendError("the sound of this call is PCM; serve with @firsthop.opus to mirror it")

    def flush(self) -> None:
        """Stop speaking."""
        self._engine.flush(self._session)

    def send(self, text: str) -> None:
        """Send on the data channel; lost while none is open."""
        self._engine.send(self._session, text)

    def close(self) -> None:
        """Hang up."""
        self._engine.close(self._session)


class OpusLine(EngineLine):
    """A WebRTC session whose sound stays Opus."""

    def play(self, utterance: int, sound: Sound, *, complete: bool) -> None:
        """Queue packets; each leaves when the one before it has been heard."""
        if not isinstance(sound, bytes):
            packets = sound
        elif sound:
            raise BackendError("the sound of this call is Opus; say it with forward()")
        else:
            packets = ()
        self._engine.play_opus(self._session, utterance, packets, complete=complete)

    def mirror(self, utterance: int) -> None:
        """Send the caller's packets back as they come."""
        self._engine.mirror(self._session, utterance)
