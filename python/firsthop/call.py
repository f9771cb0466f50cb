"""A call, as an agent sees it: hear, say, be interrupted, know what was played.

An agent is a coroutine function that takes a `Call`. It iterates over the call's events and says
things; the call ends when the function returns. Nothing here knows WebRTC, and nothing here is
done per packet: the engine paces and counts, `Call` keeps the account.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from firsthop.errors import OverloadedError, SessionClosed

#: Events that may wait for a slow agent, 10 s of 20 ms frames. Older audio frames go first.
_MAX_WAITING = 500
#: After how long a piece of speech is offered again to an engine that does not keep up.
_RETRY_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class AudioFrame:
    """A piece of what the caller says, in order and without gaps."""

    pcm: bytes = field(repr=False)
    """PCM16LE, mono, at `Call.sample_rate`; a frame long (20 ms unless set otherwise), or, if the
    client sends its sound in events, as long as the event, but at most 100 ms."""
    at_ms: int
    """Where it begins, in milliseconds since the first audio of the call."""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The caller began to speak. What the agent was saying has been stopped, if that is set."""

    at_ms: int
    """Where speech begins, in milliseconds since the first audio of the call."""


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """The caller's turn is over, and an answer is due."""

    at_ms: int
    """Where speech ended, in milliseconds since the first audio of the call."""
    audio: bytes = field(repr=False)
    """The whole turn, PCM16LE, mono, at `Call.sample_rate`, with a little of what came before."""
    item_id: str = ""
    """The turn as an item of the conversation, for events about it (a transcript, say)."""


@dataclass(frozen=True, slots=True)
class CallerIdle:
    """The caller has said nothing for as long as the session's ``idle_timeout_ms`` allows."""

    at_ms: int
    """When, in milliseconds since the first audio of the call."""


@dataclass(frozen=True, slots=True)
class Message:
    """An event from the client's data channel that firsthop has no answer to itself."""

    event: Mapping[str, Any]
    """The parsed JSON object; it has a ``type``."""


CallEvent = AudioFrame | SpeechStarted | SpeechEnded | CallerIdle | Message


@dataclass(frozen=True, slots=True)
class Place:
    """Where sound belongs: a part of an item of a response of the conversation."""

    response_id: str
    item_id: str
    output_index: int = 0
    content_index: int = 0


@dataclass(frozen=True, slots=True)
class Played:
    """What became of something said."""

    ms: int
    """How much of it was sent to the caller, in milliseconds."""
    interrupted: bool
    """Whether it was stopped before its end."""


class Playback:
    """Something being said. Await it to learn, once it is over, how much was played.

    Awaiting raises what the pieces of a stream raised, unless they were interrupted.
    """

    def __init__(self, text: str, place: Place | None = None) -> None:
        self.text = text
        """What is said, as far as the agent told."""
        self.place = place
        """Where it belongs, if the backend announced that itself."""
        self._played: asyncio.Future[Played] = asyncio.get_running_loop().create_future()
        self._feeder: asyncio.Task[None] | None = None
        self._stopped = False
        self._failure: Exception | None = None

    @property
    def done(self) -> bool:
        """Whether it is over."""
        return self._played.done()

    @property
    def failed(self) -> bool:
        """Whether the pieces of a stream raised."""
        return self._failure is not None

    def __await__(self) -> Generator[Any, None, Played]:
        # Shielded: whoever stops waiting does not stop the speech.
        return asyncio.shield(self._played).__await__()

    def _stop(self) -> None:
        """Let nothing be added any more."""
        self._stopped = True
        if self._feeder is not None:
            self._feeder.cancel()

    def _settle(self, played: Played) -> None:
        """Tell how it ended."""
        if self._failure is not None and not played.interrupted:
            self._played.set_exception(self._failure)
        else:
            self._played.set_result(played)


class Call(ABC):
    """One caller.

    Iterate over it for its events, until it ends::

        async for event in call:
            ...

    Attributes:
        id: Names the call, as clients and logs do.
        sample_rate: Of all PCM of the call, in Hz.
        interruptible: Whether the caller's speech stops the agent's. Agents may change it.
        paced: Whether speech leaves as it is heard, so that what was played is known. Else the
            caller gets it as it is made, plays it himself, and says how far he came.
    """

    def __init__(self, call_id: str, *, sample_rate: int, interruptible: bool) -> None:
        self.id = call_id
        self.sample_rate = sample_rate
        self.interruptible = interruptible
        self.paced = True
        self._waiting: deque[CallEvent] = deque()
        self._wake = asyncio.Event()
        self._playbacks: dict[int, Playback] = {}
        self._next_utterance = 0
        self._end_reason: str | None = None
        self._up = asyncio.Event()
        #: The event that the agent is at.
        self._in_hand: CallEvent | None = None

    # What agents use.

    @property
    @abstractmethod
    def session(self) -> Mapping[str, Any]:
        """The Realtime session as the client has configured it: instructions, tools, ...

        A JSON object in the contract's shape. It is replaced when the client changes something.
        """

    @property
    def ended(self) -> str | None:
        """Why the call ended, in snake case; None while it lasts."""
        return self._end_reason

    @property
    def speaking(self) -> bool:
        """Whether something said is not yet over."""
        return bool(self._playbacks)

    async def connected(self) -> None:
        """Wait until sound flows.

        Raises:
            SessionClosed: The call ended before.
        """
        await self._up.wait()
        if self._end_reason is not None:
            raise SessionClosed(self._end_reason)

    def say(self, speech: bytes | AsyncIterable[bytes], *, text: str = "") -> Playback:
        """Say something, after what is being said already.

        Args:
            speech: PCM16LE, mono, at `sample_rate`: whole, or in pieces as they are made.
            text: What it says, for transcripts.

        Returns:
            The playback; await it to learn how much was played.

        Raises:
            SessionClosed: The call is over.
            OverloadedError: The engine does not keep up.
        """
        return self._speak(speech, Playback(text))

    def play(
        self,
        speech: bytes | AsyncIterable[bytes],
        *,
        response_id: str,
        item_id: str,
        output_index: int = 0,
        content_index: int = 0,
    ) -> Playback:
        """Say something that was announced already, and where it belongs; else as `say`.

        For backends that are Realtime servers themselves (`Traits.realtime`).
        """
        place = Place(response_id, item_id, output_index, content_index)
        return self._speak(speech, Playback("", place))

    @abstractmethod
    async def invoke(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Let the client run one of the tools that it put into its session.

        Returns:
            The tool's output, as the client words it: JSON in most cases.

        Raises:
            BackendError: The session has no such tool.
            SessionClosed: The call ended before the answer came.
        """

    @property
    @abstractmethod
    def items(self) -> Sequence[Mapping[str, Any]]:
        """The items of the conversation as they are now, oldest first; without sound."""

    @abstractmethod
    def item(self, item_id: str) -> Mapping[str, Any] | None:
        """Return an item of the conversation as it is now, if it is known."""

    @abstractmethod
    def fail(
        self,
        code: str,
        message: str,
        *,
        event_id: str | None = None,
        param: str | None = None,
    ) -> None:
        """Tell the client that something on this side went wrong; the call goes on.

        Args:
            code: A word for programs.
            message: Shown to users as it is.
            event_id: The client's event that it is about, if it is about one.
            param: The field that it is about.
        """

    async def interrupt(self) -> list[Played]:
        """Stop saying everything that is being said or waits, at once.

        Returns:
            How much of each was played, in the order of `say`.
        """
        stopped = list(self._playbacks.values())
        if stopped:
            self._silence()
        return [await playback for playback in stopped]

    def send(self, event: Mapping[str, Any]) -> None:
        """Send an event (a JSON object with a ``type``) to the client's data channel."""
        self._send(event)

    def hang_up(self) -> None:
        """End the call, if it has not ended."""
        if self._end_reason is None:
            self._close()

    def __aiter__(self) -> AsyncIterator[CallEvent]:
        return self._events()

    # What the transceiver implements ...

    @abstractmethod
    def _play(self, utterance: int, pcm: bytes, *, complete: bool) -> None:
        """Queue PCM as the next part of an utterance."""

    @abstractmethod
    def _flush(self) -> None:
        """Drop what has not been sent; `_playout_ended` follows for each utterance."""

    @abstractmethod
    def _send(self, event: Mapping[str, Any]) -> None:
        """Send an event to the client."""

    @abstractmethod
    def _close(self) -> None:
        """Hang up; `_end` follows."""

    def _said(self, utterance: int, playback: Playback) -> None:  # noqa: B027 (optional)
        """Take note that something is about to be said."""

    def _voiced(  # noqa: B027 (optional)
        self, utterance: int, playback: Playback, pcm: bytes, *, complete: bool
    ) -> None:
        """Take note that its next part was queued."""

    def _handled(self, event: CallEvent) -> None:  # noqa: B027 (optional)
        """Take note that the agent comes back for the next event."""

    # ... and what it calls.

    def _speak(self, speech: bytes | AsyncIterable[bytes], playback: Playback) -> Playback:
        if self._end_reason is not None:
            raise SessionClosed(self._end_reason)
        utterance = self._next_utterance
        self._next_utterance += 1
        # The line speaks in the order in which it hears of utterances, and settles those that it
        # has heard of: a stream takes its place before its first piece is made.
        whole = isinstance(speech, bytes)
        first = speech if isinstance(speech, bytes) else b""
        self._play(utterance, first, complete=whole)
        self._playbacks[utterance] = playback
        self._said(utterance, playback)
        if isinstance(speech, bytes):
            self._voiced(utterance, playback, first, complete=True)
        else:
            playback._feeder = asyncio.create_task(self._feed(utterance, playback, speech))
        return playback

    def _deliver(self, event: CallEvent) -> None:
        """Hand an event to the agent."""
        if len(self._waiting) >= _MAX_WAITING:
            # A slow agent misses old sound, not what happened; one that does not listen at all,
            # and so lets hundreds of turns and messages pile up, misses the oldest of those.
            frames = (n for n, event in enumerate(self._waiting) if isinstance(event, AudioFrame))
            del self._waiting[next(frames, 0)]
        self._waiting.append(event)
        self._wake.set()

    def _silence(self) -> None:
        """Stop speaking: no feeder adds anything after the flush."""
        for playback in self._playbacks.values():
            playback._stop()
        self._flush()

    def _playout_ended(self, utterance: int, played: Played) -> Playback | None:
        """Settle the account of an utterance."""
        playback = self._playbacks.pop(utterance, None)
        if playback is not None:
            playback._settle(played)
            # The engine may end a stream that ran too far ahead of what is played.
            playback._stop()
        return playback

    def _end(self, reason: str) -> None:
        """The call is over: whoever waits, wakes."""
        self._end_reason = reason
        self._up.set()
        for utterance, playback in list(self._playbacks.items()):
            playback._stop()
            self._playout_ended(utterance, Played(ms=0, interrupted=True))
        self._wake.set()

    async def _events(self) -> AsyncIterator[CallEvent]:
        while True:
            self._put_down()
            while self._waiting:
                self._in_hand = self._waiting.popleft()
                yield self._in_hand
                self._put_down()
            if self._end_reason is not None:
                return
            self._wake.clear()
            await self._wake.wait()

    def _put_down(self) -> None:
        event, self._in_hand = self._in_hand, None
        if event is not None:
            self._handled(event)

    async def _feed(self, utterance: int, playback: Playback, pieces: AsyncIterable[bytes]) -> None:
        """Pass pieces on as they are made, and end the utterance, whatever ends the pieces.

        A flush and the end of the call settle the utterance themselves; then nothing is added.
        """
        half = b""
        try:
            async for piece in pieces:
                # Pieces that come from a network may end within a sample.
                piece = half + piece
                whole = len(piece) - len(piece) % 2
                half = piece[whole:]
                await self._pass_on(utterance, playback, piece[:whole], complete=False)
        except Exception as error:
            playback._failure = error
        finally:
            await self._pass_on(utterance, playback, b"", complete=True)

    async def _pass_on(
        self, utterance: int, playback: Playback, pcm: bytes, *, complete: bool
    ) -> None:
        while not playback._stopped:
            try:
                self._play(utterance, pcm, complete=complete)
            except OverloadedError:
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return self._voiced(utterance, playback, pcm, complete=complete)
