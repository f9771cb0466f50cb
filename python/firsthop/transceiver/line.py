"""A WebRTC session of the engine as the line of a call, for either form of sound."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firsthop.call import Sound
from firsthop.calls.line import pcm_of
from firsthop.errors import BackendError

if TYPE_CHECKING:
    from firsthop.transceiver.engine import EngineLoop


class EngineLine:
    """A WebRTC session whose sound is PCM."""

    paced = True

    def __init__(self, loop: EngineLoop, session: int) -> None:
        self._loop = loop
        self._engine = loop.engine
        self._session = session

    async def renegotiate(self, offer: str) -> str:
        """Answer an offer in mid-call."""
        return await self._loop.renegotiate(self._session, offer)

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
