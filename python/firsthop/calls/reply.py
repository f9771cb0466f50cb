"""An answer of an agent of ours, from the moment it is due until nothing more of it is made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from typing import Any

import structlog

from firsthop.call import Call, CallEvent, Playback, Reply, Speech, ToolRun, Usage
from firsthop.errors import SessionClosed
from firsthop.realtime.agent import AgentConversation
from firsthop.realtime.responses import Response
from firsthop.realtime.toolcalls import ToolUse

log = structlog.get_logger()

Work = Callable[[Reply], Awaitable[None]]


class PartOfReply(Playback):
    """Something said as a part of a response."""

    def __init__(self, text: str, response: Response) -> None:
        super().__init__(text)
        self.response = response


class LiveReply(Reply):
    """An answer that is worked at, or waits for its turn.

    Args:
        call: The call.
        speak: Says something on it.
        conversation: Tells the client.
        work: Makes the answer.
        to: What is answered.
        over: Called once, when nothing more will be made.
    """

    def __init__(
        self,
        call: Call,
        speak: Callable[[Speech, Playback], Playback],
        conversation: AgentConversation,
        work: Work,
        to: CallEvent | None,
        over: Callable[[LiveReply], None],
    ) -> None:
        self._wish = conversation.wish(to)
        super().__init__(call, self._wish.session)
        self._speak = speak
        self._conversation = conversation
        self._work = work
        self._over = over
        self._ended = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._response: Response | None = None

    def start(self) -> None:
        """Take its place behind those that came before."""
        self._conversation.answering()
        self._response = self._wish.response(self._begin)
        self._conversation.begin(self._response)

    def cancel(self, reason: str) -> None:
        """Stop it: turn_detected or client_cancelled."""
        if self._response is not None:
            self._response.cancel(reason)
        if not self.cancelled:
            self.cancelled = True
            if self._task is None:
                self._end()
            else:
                self._task.cancel()
        self._conversation.changed()

    # What the agent does.

    @property
    def items(self) -> Sequence[Mapping[str, Any]]:
        """What is to be answered."""
        return self.call.items if self._wish.input is None else self._wish.input

    def say(self, speech: Speech, *, text: str = "") -> Playback:
        """Say something as the answer's next part."""
        return self._speak(speech, PartOfReply(text, self._current()))

    def use(self, server: str, name: str, arguments: str) -> ToolRun:
        """Tell that a tool of the agent's own runs now."""
        response = self._current()
        return _ToolRun(
            self._conversation, self._conversation.use(response, server, name, arguments)
        )

    async def invoke(self, requests: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
        """Let the client run tools, and wait for what they say."""
        response = self._current()
        outputs: list[asyncio.Future[str]] = []
        try:
            for name, arguments in requests:
                outputs.append(self._conversation.invoke(name, arguments, response))
            # Clients answer when the response is done; what follows is another one.
            self._response = None
            response.close()
            self._conversation.changed()
            return list(await asyncio.gather(*outputs))
        finally:
            for output in outputs:
                output.cancel()

    def fail(self, code: str, message: str) -> None:
        """Tell the client that the answer failed."""
        if not self.cancelled:
            self._current().fail(code)
            self.call.fail(code, message)

    def cut(self, reason: str) -> None:
        """Tell that it ends before it is complete."""
        self._current().cut(reason)

    def count(self, usage: Usage) -> None:
        """Add to what the answer took."""
        response = self._current()
        before = response.usage or Usage(0, 0)
        response.usage = Usage(
            before.input_tokens + usage.input_tokens, before.output_tokens + usage.output_tokens
        )

    def __await__(self) -> Generator[Any, None, None]:
        yield from self._ended.wait().__await__()

    # How it runs.

    def _current(self) -> Response:
        """The response that what is made next belongs to."""
        if self._response is None:
            self._response = self._wish.response()
            self._conversation.begin(self._response)
        return self._response

    def _begin(self) -> None:
        """It is its turn."""
        if self._task is None and not self.cancelled:
            self._task = asyncio.create_task(self._run(), name=f"reply {self.call.id}")
            # Also if it is cancelled before it runs.
            self._task.add_done_callback(lambda _: self._end())

    async def _run(self) -> None:
        try:
            await self._work(self)
        except (asyncio.CancelledError, SessionClosed):
            # The caller interrupted, or has gone.
            pass
        except Exception as error:
            log.error("reply.failed", call=self.call.id, error=repr(error), exc_info=error)
            self.fail("agent_failed", "the agent failed; the call goes on")

    def _end(self) -> None:
        if self._ended.is_set():
            return
        self._ended.set()
        if self._response is not None:
            self._response.close()
        self._conversation.changed()
        self._conversation.answered()
        self._over(self)


class _ToolRun(ToolRun):
    def __init__(self, conversation: AgentConversation, use: ToolUse) -> None:
        self._conversation = conversation
        self._use = use

    def done(self, output: str) -> None:
        self._use.done(output)
        self._conversation.changed()

    def failed(self, message: str) -> None:
        self._use.failed(message)
        self._conversation.changed()
