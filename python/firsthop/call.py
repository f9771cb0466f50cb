"""A call, as an agent sees it: hear, say, be interrupted, know what was played.

An agent is a coroutine function that takes a `Call`. It iterates over the call's events and says
things; the call ends when the function returns. Nothing here knows WebRTC, and nothing here is
done per packet: the engine paces and counts, `Call` keeps the account.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field
from typing import Any

from firsthop._native import OpusPacket
from firsthop.errors import BackendError, OverloadedError, SessionClosed

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
class OpusPackets:
    """A piece of what the caller says, as it came; for agents that want Opus (`firsthop.opus`).

    Packets are in order, each once; `OpusPacket.missing` counts those that were lost, for which
    nothing is made up. One that comes late is waited for, 50 ms at most.
    """

    packets: Sequence[OpusPacket]
    """At least one; together a frame long (20 ms unless set otherwise), or, where the caller
    pauses, what came within that time."""


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
class DigitPressed:
    """The caller pressed a key (DTMF, RFC 4733)."""

    digit: str
    """``0`` to ``9``, ``*``, ``#``, or ``A`` to ``D``."""


@dataclass(frozen=True, slots=True)
class Message:
    """An event from the client's data channel that firsthop has no answer to itself."""

    event: Mapping[str, Any]
    """The parsed JSON object; it has a ``type``."""


CallEvent = (
    AudioFrame | OpusPackets | SpeechStarted | SpeechEnded | CallerIdle | DigitPressed | Message
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where sound belongs: a part of an item of a response of the conversation."""

    response_id: str
    item_id: str
    output_index: int = 0
    content_index: int = 0


#: What is said: PCM as a whole, or in pieces as they are made; a piece that is text has the words
#: that the sound after it says.
Speech = bytes | AsyncIterable[bytes] | AsyncIterable[bytes | str]

#: A piece of sound on its way to the line: PCM, or Opus packets; ``b""`` is nothing of either.
Sound = bytes | Sequence[OpusPacket]


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer took of a model."""

    input_tokens: int
    output_tokens: int


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
        self._made = asyncio.Event()
        self._stopped = False
        self._failure: Exception | None = None

    async def made(self) -> None:
        """Wait until all of its sound was made, or it was stopped; it may be heard for long after.

        Raises what the pieces of a stream raised, unless they were stopped.
        """
        await self._made.wait()
        if self._failure is not None and not self._stopped:
            raise self._failure

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
        self._made.set()
        if self._feeder is not None:
            self._feeder.cancel()

    def _settle(self, played: Played) -> None:
        """Tell how it ended."""
        if self._failure is not None and not played.interrupted:
            self._played.set_exception(self._failure)
        else:
            self._played.set_result(played)


class ToolRun(ABC):
    """A tool that the agent uses itself, as the client is told of it."""

    @abstractmethod
    def done(self, output: str) -> None:
        """Tell what came of it."""

    @abstractmethod
    def failed(self, message: str) -> None:
        """Tell that nothing came of it."""


class Reply(ABC):
    """An answer at which the agent works, from `Call.reply`.

    To the client it is one response, or several where the client's tools are used between. It is
    cancelled as a whole when the caller interrupts or the client cancels: the work is, and what it
    was saying stops. Await it to learn that it is over.
    """

    def __init__(self, call: Call, session: Mapping[str, Any]) -> None:
        self.call = call
        """The call."""
        self.session = session
        """The Realtime session as it is for this answer: the client may have asked for other
        instructions, tools, or a text."""
        self.cancelled = False
        """Whether it was cancelled."""

    @property
    def speaks(self) -> bool:
        """Whether what it says is heard; else only the words are wanted."""
        return "audio" in self.session["output_modalities"]

    @property
    @abstractmethod
    def items(self) -> Sequence[Mapping[str, Any]]:
        """What is to be answered: the conversation, unless the client gave something else."""

    @abstractmethod
    def say(self, speech: Speech, *, text: str = "") -> Playback:
        """Say something, as `Call.say` does, as the answer's next part.

        Raises:
            SessionClosed: The call is over.
            OverloadedError: The engine does not keep up.
        """

    @abstractmethod
    def use(self, server: str, name: str, arguments: str) -> ToolRun:
        """Tell that a tool of the agent's own runs now.

        Args:
            server: Whose tool it is, in a word.
            name: The tool.
            arguments: JSON.
        """

    @abstractmethod
    async def invoke(self, requests: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
        """Let the client run tools that it put into its session, all at the same time.

        Args:
            requests: Their names and arguments.

        Returns:
            Their outputs, in the same order.

        Raises:
            BackendError: The session has no such tool.
            SessionClosed: The call ended before the answers came.
        """

    @abstractmethod
    def fail(self, code: str, message: str) -> None:
        """Tell the client that the answer failed; `message` is shown to users as it is."""

    @abstractmethod
    def cut(self, reason: str) -> None:
        """Tell that it ends before it is complete: max_output_tokens or content_filter."""

    @abstractmethod
    def count(self, usage: Usage) -> None:
        """Add to what the answer took."""

    @abstractmethod
    def __await__(self) -> Generator[Any, None, None]: ...


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
        continued: Whether the conversation began in another call, so that nobody is to be greeted:
            `items` has what was said, or will have it before the caller says more.
    """

    def __init__(self, call_id: str, *, sample_rate: int, interruptible: bool) -> None:
        self.id = call_id
        self.sample_rate = sample_rate
        self.interruptible = interruptible
        self.paced = True
        self.continued = False
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

    def say(self, speech: Speech, *, text: str = "") -> Playback:
        """Say something, after what is being said already.

        Args:
            speech: PCM16LE, mono, at `sample_rate`: whole, or in pieces as they are made. Pieces
                may be text, too: the words of the sound that follows.
            text: What it says, for transcripts, as far as that is known now.

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

    def forward(
        self,
        packets: Sequence[OpusPacket] | AsyncIterable[Sequence[OpusPacket]],
        *,
        text: str = "",
    ) -> Playback:
        """Say something that is Opus already, after what is being said already.

        For agents that want Opus (`firsthop.opus`). Each packet leaves byte by byte as it is, when
        the one before it has been heard.

        Args:
            packets: Whole, or in pieces as they are made: `OpusPackets.packets`, or ones made of
                bytes, ``OpusPacket(payload)``.
            text: What it says, for transcripts.

        Returns:
            The playback; await it to learn how much was played.

        Raises:
            BackendError: The sound of this call is PCM.
            SessionClosed: The call is over.
            OverloadedError: The engine does not keep up.
        """
        return self._speak(packets, Playback(text))

    def mirror(self) -> Playback:
        """Say what the caller says, packet by packet, until that is stopped.

        For agents that want Opus. The packets go back within the engine, each when the one before
        it has been heard; the agent is given none of them meanwhile, and costs nothing.

        Returns:
            The playback; await it to learn how much was played.

        Raises:
            BackendError: The sound of this call is PCM.
            SessionClosed: The call is over.
            OverloadedError: The engine does not keep up.
        """
        utterance, playback = self._next(), Playback("")
        self._about_to_say(utterance, playback)
        self._mirror(utterance)
        self._playbacks[utterance] = playback
        self._said(utterance, playback)
        return playback

    @abstractmethod
    def reply(
        self, work: Callable[[Reply], Awaitable[None]], *, to: CallEvent | None = None
    ) -> Reply:
        """Answer: the client is told at once that an answer is under way, and `work` makes it.

        One answer is worked at at a time: `work` begins when those before are done. The call owns
        it: it is cancelled with the answer, and with the call. If it raises, the answer failed.

        Args:
            work: Says things, uses tools.
            to: What is answered, if it is an event; the client may have asked for something special
                in it.

        Raises:
            SessionClosed: The call is over.
        """

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

    async def interrupt(self, *, spoken_over: bool = False) -> list[Played]:
        """Stop saying everything that is being said or waits, at once.

        Args:
            spoken_over: Whether it is because the caller speaks, for what the client is told.

        Returns:
            How much of each was played, in the order of `say`.
        """
        stopped = list(self._playbacks.values())
        if stopped:
            self._stopping(spoken_over=spoken_over)
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
    def _play(self, utterance: int, sound: Sound, *, complete: bool) -> None:
        """Queue sound as the next part of an utterance."""

    def _mirror(self, utterance: int) -> None:
        """Say what the caller says as an utterance, until it is flushed."""
        raise BackendError("the sound of this call is PCM, and cannot be mirrored")

    @abstractmethod
    def _flush(self) -> None:
        """Drop what has not been sent; `_playout_ended` follows for each utterance."""

    @abstractmethod
    def _send(self, event: Mapping[str, Any]) -> None:
        """Send an event to the client."""

    @abstractmethod
    def _close(self) -> None:
        """Hang up; `_end` follows."""

    def _stopping(self, *, spoken_over: bool) -> None:  # noqa: B027 (optional)
        """Take note why the agent is about to be silent."""

    def _about_to_say(  # noqa: B027 (optional)
        self, utterance: int, playback: Playback
    ) -> None:
        """Take note that something will be said, if the line takes it."""

    def _said(self, utterance: int, playback: Playback) -> None:  # noqa: B027 (optional)
        """Take note that something is said from now on."""

    def _worded(  # noqa: B027 (optional)
        self, utterance: int, playback: Playback, text: str
    ) -> None:
        """Take note of the words of what comes next."""

    def _voiced(  # noqa: B027 (optional)
        self, utterance: int, playback: Playback, sound: Sound, *, complete: bool
    ) -> None:
        """Take note that its next part was queued."""

    def _handled(self, event: CallEvent) -> None:  # noqa: B027 (optional)
        """Take note that the agent comes back for the next event."""

    # ... and what it calls.

    def _speak(
        self,
        speech: Speech | Sequence[OpusPacket] | AsyncIterable[Sequence[OpusPacket]],
        playback: Playback,
    ) -> Playback:
        utterance = self._next()
        # The line speaks in the order in which it hears of utterances, and settles those that it
        # has heard of: a stream takes its place before its first piece is made.
        whole = not isinstance(speech, AsyncIterable)
        first = b"" if isinstance(speech, AsyncIterable) else speech
        self._about_to_say(utterance, playback)
        self._play(utterance, first, complete=whole)
        self._playbacks[utterance] = playback
        self._said(utterance, playback)
        if not isinstance(speech, AsyncIterable):
            self._voiced(utterance, playback, first, complete=True)
            playback._made.set()
        else:
            playback._feeder = asyncio.create_task(self._feed(utterance, playback, speech))
        return playback

    def _next(self) -> int:
        """Number what is about to be said."""
        if self._end_reason is not None:
            raise SessionClosed(self._end_reason)
        utterance = self._next_utterance
        self._next_utterance += 1
        return utterance

    def _deliver(self, event: CallEvent) -> None:
        """Hand an event to the agent."""
        if len(self._waiting) >= _MAX_WAITING:
            # A slow agent misses old sound, not what happened; one that does not listen at all,
            # and so lets hundreds of turns and messages pile up, misses the oldest of those.
            sound = (
                n
                for n, event in enumerate(self._waiting)
                if isinstance(event, AudioFrame | OpusPackets)
            )
            del self._waiting[next(sound, 0)]
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

    async def _feed(
        self,
        utterance: int,
        playback: Playback,
        pieces: AsyncIterable[bytes | str] | AsyncIterable[Sequence[OpusPacket]],
    ) -> None:
        """Pass pieces on as they are made, and end the utterance, whatever ends the pieces.

        A flush and the end of the call settle the utterance themselves; then nothing is added.
        """
        half = b""
        try:
            async for piece in pieces:
                if isinstance(piece, str):
                    playback.text += piece
                    self._worded(utterance, playback, piece)
                    continue
                if isinstance(piece, bytes):
                    # Pieces that come from a network may end within a sample.
                    piece = half + piece
                    whole = len(piece) - len(piece) % 2
                    half, piece = piece[whole:], piece[:whole]
                await self._pass_on(utterance, playback, piece, complete=False)
        except Exception as error:
            playback._failure = error
        finally:
            if isinstance(pieces, AsyncGenerator):
                # It may be stopped where it is not at work; what it has open is closed then, too.
                await pieces.aclose()
            await self._pass_on(utterance, playback, b"", complete=True)
            playback._made.set()

    async def _pass_on(
        self, utterance: int, playback: Playback, sound: Sound, *, complete: bool
    ) -> None:
        while not playback._stopped:
            try:
                self._play(utterance, sound, complete=complete)
            except OverloadedError:
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return self._voiced(utterance, playback, sound, complete=complete)
