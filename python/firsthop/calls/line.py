"""The line of a call: what carries sound to the caller, and says how much of it was played."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from firsthop._native import Event
from firsthop.call import Sound
from firsthop.errors import BackendError, OfferError


class Line(Protocol):
    """Carries sound to one caller. Every command may raise `OverloadedError`: it was not taken."""

    @property
    def paced(self) -> bool:
        """Whether sound leaves as it is heard: what was sent was heard, what was not was not."""

    def play(self, utterance: int, sound: Sound, *, complete: bool) -> None:
        """Queue the next part of an utterance: PCM16LE, mono, or Opus packets on a line for them.

        Raises:
            BackendError: The line is not for this form of sound.
        """

    def mirror(self, utterance: int) -> None:
        """Say what the caller says as an utterance, until a flush.

        Raises:
            BackendError: The line is not for Opus.
        """

    def flush(self) -> None:
        """Drop what has not been sent; a `PlayoutEnded` per utterance follows."""

    def send(self, text: str) -> None:
        """Send a message on the caller's data channel, if it has one."""

    async def renegotiate(self, offer: str) -> str:
        """Answer an SDP offer in mid-call.

        Raises:
            OfferError: The offer is wrong, or there is no WebRTC here.
            OverloadedError: It was not taken.
            SessionClosed: The call ended before the answer.
        """

    def close(self) -> None:
        """Hang up; `Closed` follows."""


def pcm_of(sound: Sound) -> bytes:
    """Return sound that has to be PCM.

    Raises:
        BackendError: It is something else.
    """
    if isinstance(sound, bytes):
        return sound
    raise BackendError("the sound of this call is PCM; decode Opus, or serve with @firsthop.opus")


@dataclass(slots=True)
class _Queued:
    utterance: int
    length_s: float = 0.0
    played_s: float = 0.0
    complete: bool = False
    started: bool = False


class SocketLine:
    """A caller whose sound travels in events, as fast as it is made, and who plays it himself.

    What he hears when is not known here. For the agent's account he is taken to play each
    utterance when it comes, in real time; how far he really came, he says when he truncates.

    Args:
        sample_rate: Of the PCM, in Hz.
        handle: Takes the events of the playout, and `Closed`.
    """

    paced = False

    def __init__(self, sample_rate: int, handle: Callable[[Event], None]) -> None:
        self._rate = sample_rate
        self._handle = handle
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Queued] = deque()
        self._now = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def play(self, utterance: int, sound: Sound, *, complete: bool) -> None:
        """Take note of more sound."""
        pcm = pcm_of(sound)
        self._advance()
        queued = next((one for one in self._queue if one.utterance == utterance), None)
        if queued is None:
            queued = _Queued(utterance)
            self._queue.append(queued)
        queued.length_s += len(pcm) / 2 / self._rate
        queued.complete |= complete
        self._loop.call_soon(self._turn)

    def mirror(self, utterance: int) -> None:
        """Refuse: the sound is PCM."""
        raise BackendError("the sound of this call is PCM, and no echo")

    def flush(self) -> None:
        """Stop: nothing more of what was queued is heard."""
        self._advance()
        stopped, self._queue = list(self._queue), deque()
        for queued in stopped:
            self._loop.call_soon(self._tell_end, queued, True)
        self._schedule()

    def send(self, text: str) -> None:
        """Have no data channel: the caller's socket is an end of its own."""

    async def renegotiate(self, offer: str) -> str:
        """Refuse: there is nothing to negotiate."""
        raise OfferError("this call came by WebSocket; it has no WebRTC session")

    def close(self) -> None:
        """Hang up."""
        if not self._closed:
            self._closed = True
            self._queue.clear()
            self._schedule()
            self._loop.call_soon(self._handle, Event.Closed(0, "hung_up"))

    def _turn(self) -> None:
        """Tell what has happened by now, and come back when the next thing happens."""
        if self._closed:
            return
        self._advance()
        while self._queue:
            head = self._queue[0]
            if not head.started and head.length_s > 0:
                head.started = True
                self._handle(Event.PlayoutStarted(0, head.utterance))
            if not head.complete or head.played_s < head.length_s:
                break
            self._queue.popleft()
            self._tell_end(head, False)
        self._schedule()

    def _advance(self) -> None:
        """Let the time that has passed be the time that was heard."""
        now = self._loop.time()
        passed, self._now = now - self._now, now
        for queued in self._queue:
            heard = min(passed, queued.length_s - queued.played_s)
            queued.played_s += heard
            passed -= heard
            # What is not complete is waited for: nothing overtakes it.
            if not queued.complete or passed <= 0:
                return

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._queue:
            head = self._queue[0]
            left_s = head.length_s - head.played_s
            if head.complete or left_s > 0:
                self._timer = self._loop.call_later(max(0.0, left_s), self._turn)

    def _tell_end(self, queued: _Queued, interrupted: bool) -> None:
        played_ms = round(queued.played_s * 1000)
        self._handle(Event.PlayoutEnded(0, queued.utterance, played_ms, interrupted))
