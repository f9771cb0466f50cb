"""What the agent says, on its way to who hears or reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Literal

from firsthop.call import Playback, Played, Sound
from firsthop.calls.heldline import HeldLine
from firsthop.calls.reply import PartOfReply
from firsthop.calls.seats import Seats
from firsthop.realtime.agent import AgentConversation
from firsthop.realtime.output import Emit, OutputAudioBuffer
from firsthop.realtime.session import Session
from firsthop.realtime.sound import Encoder

StopReason = Literal["turn_detected", "client_cancelled"]


class Voicing:
    """Follows each utterance from its first words until it was heard.

    It owns which utterances are written only, the encoders of those that somebody gets in events,
    and why the agent was stopped.

    Args:
        sample_rate: Of the agent's PCM, in Hz.
        line: Plays it.
        session: Says whether it is heard or read.
        output: The output audio buffer.
        conversation: Makes it items; None if the backend does.
        seats: Say whether anybody gets sound in events.
        emit: Takes the events for the client.
        over: Called when an utterance that is not on the line is over.
    """

    def __init__(
        self,
        sample_rate: int,
        line: HeldLine,
        session: Session,
        output: OutputAudioBuffer,
        conversation: AgentConversation | None,
        seats: Seats,
        emit: Emit,
        over: Callable[[int, Played], None],
    ) -> None:
        self._rate = sample_rate
        self._line = line
        self._session = session
        self._output = output
        self._conversation = conversation
        self._seats = seats
        self._emit = emit
        self._over = over
        #: What is said to a client that only reads.
        self._unspoken: set[int] = set()
        self._encoders: dict[int, Encoder] = {}
        self._stop_reason: StopReason = "client_cancelled"

    def announced(self, utterance: int, playback: Playback) -> None:
        """Take note that something will be said, if the line takes it."""
        if isinstance(playback, PartOfReply):
            speaks = playback.response.speaks
        else:
            speaks = self._conversation is None or self._session.speaks
        if not speaks:
            self._unspoken.add(utterance)

    def play(self, utterance: int, sound: Sound, *, complete: bool) -> None:
        """Queue the next part of an utterance, where it is to be heard.

        Raises:
            OverloadedError: The line does not keep up.
        """
        if utterance not in self._unspoken:
            self._line.play(utterance, sound, complete=complete)
        elif complete:
            self._end_unspoken(utterance, interrupted=False)

    def said(self, utterance: int, playback: Playback) -> None:
        """Take note that it is said from now on."""
        if playback.place is not None:
            self._output.queued(utterance, playback.place)
        elif self._conversation is not None:
            response = playback.response if isinstance(playback, PartOfReply) else None
            heard = utterance not in self._unspoken
            self._conversation.speeches.said(utterance, playback.text, response, heard=heard)

    def worded(self, utterance: int, text: str) -> None:
        """Take note of the words of what comes next."""
        if self._conversation is not None:
            self._conversation.speeches.worded(utterance, text)

    def voiced(self, utterance: int, playback: Playback, sound: Sound, *, complete: bool) -> None:
        """Take note that its next part was queued; tell it to who gets it in events."""
        if utterance in self._unspoken:
            return
        deltas = self._deltas(utterance, sound, complete=complete)
        ms = self._length_ms(sound)
        if playback.place is not None:
            self._output.sounded(playback.place, ms)
            where = asdict(playback.place)
            for delta in deltas:
                self._emit({"type": "response.output_audio.delta", **where, "delta": delta})
        elif self._conversation is not None:
            self._conversation.speeches.sounded(utterance, ms, deltas)
            if complete:
                self._conversation.speeches.made(utterance, failed=playback.failed)

    def stopping(self, reason: StopReason) -> None:
        """Take note why the agent is about to be silent."""
        self._stop_reason = reason

    def flush(self) -> None:
        """Drop what was not heard; each utterance's end follows."""
        if self._conversation is not None:
            self._conversation.speeches.silenced()
        for utterance in self._unspoken:
            self._end_unspoken(utterance, interrupted=True)
        self._line.flush()

    def played(self, utterance: int, played: Played) -> None:
        """Take note that it is over."""
        self._encoders.pop(utterance, None)
        self._unspoken.discard(utterance)
        self._output.ended(utterance, played)
        if self._conversation is not None:
            reason, paced = self._stop_reason, self._line.paced
            self._conversation.speeches.played(utterance, played, reason, paced=paced)

    def silent(self) -> None:
        """Take note that nothing more is being said: what stopped the agent is past."""
        self._stop_reason = "client_cancelled"

    def _end_unspoken(self, utterance: int, *, interrupted: bool) -> None:
        played = Played(ms=0, interrupted=interrupted)
        asyncio.get_running_loop().call_soon(self._over, utterance, played)

    def _deltas(self, utterance: int, sound: Sound, *, complete: bool) -> list[str]:
        """The sound as it is in events, if anybody gets it there."""
        if not self._seats.want_audio or not isinstance(sound, bytes):
            return []
        encoder = self._encoders.get(utterance)
        if encoder is None:
            encoder = Encoder(self._rate, self._session.output_format)
            self._encoders[utterance] = encoder
        return encoder.encode(sound, last=complete)

    def _length_ms(self, sound: Sound) -> float:
        if isinstance(sound, bytes):
            return len(sound) * 500 / self._rate
        return sum(packet.duration_ms for packet in sound)
