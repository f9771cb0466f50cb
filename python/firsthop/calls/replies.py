"""The answers of an agent of ours, all that are worked at or wait for their turn."""

from __future__ import annotations

from collections.abc import Callable

from firsthop.call import Call, CallEvent, Playback, Speech
from firsthop.calls.reply import LiveReply, Work
from firsthop.realtime.agent import AgentConversation


class Replies:
    """Begins answers, and cancels them together. It owns those that are not over; true: some are.

    Args:
        call: The call.
        speak: Says something on it.
        over: Called when one is over.
    """

    def __init__(
        self,
        call: Call,
        speak: Callable[[Speech, Playback], Playback],
        over: Callable[[], None],
    ) -> None:
        self._call = call
        self._speak = speak
        self._over = over
        self._under_way: list[LiveReply] = []

    def __bool__(self) -> bool:
        return bool(self._under_way)

    def begin(self, conversation: AgentConversation, work: Work, to: CallEvent | None) -> LiveReply:
        """Let one take its place behind those that came before; see `Call.reply`."""
        reply = LiveReply(self._call, self._speak, conversation, work, to, self._ended)
        self._under_way.append(reply)
        reply.start()
        return reply

    def cancel(self, reason: str) -> None:
        """Stop all: turn_detected or client_cancelled."""
        for reply in list(self._under_way):
            reply.cancel(reason)

    def _ended(self, reply: LiveReply) -> None:
        self._under_way.remove(reply)
        self._over()
