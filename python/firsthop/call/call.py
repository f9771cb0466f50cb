"""The call itself, and the answers that an agent gives on it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from typing import Any

from firsthop.call.events import AudioFrame, CallEvent, OpusPackets
from firsthop.call.speaking import Speaking
from firsthop.call.speech import Playback, Speech
from firsthop.errors import SessionClosed

#: Events that may wait for a slow agent, 10 s of 20 ms frames. Older audio frames go first.
_MAX_WAITING = 500


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer took of a model."""

    input_tokens: int
    output_tokens: int


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


class Call(Speaking):
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
        super().__init__()
        self.id = call_id
        self.sample_rate = sample_rate
        self.interruptible = interruptible
        self.paced = True
        self.continued = False
        self._waiting: deque[CallEvent] = deque()
        self._wake = asyncio.Event()
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

    async def connected(self) -> None:
        """Wait until sound flows.

        Raises:
            SessionClosed: The call ended before.
        """
        await self._up.wait()
        if self._end_reason is not None:
            raise SessionClosed(self._end_reason)

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
    def _send(self, event: Mapping[str, Any]) -> None:
        """Send an event to the client."""

    @abstractmethod
    def _close(self) -> None:
        """Hang up; `_end` follows."""

    def _handled(self, event: CallEvent) -> None:
        """Take note that the agent comes back for the next event."""

    # ... and what it calls.

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

    def _end(self, reason: str) -> None:
        """The call is over: whoever waits, wakes."""
        self._end_reason = reason
        self._up.set()
        self._end_playbacks()
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
