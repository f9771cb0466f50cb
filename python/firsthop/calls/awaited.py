"""What is waited for in a call: whether somebody speaks, and whether an answer is due."""

from __future__ import annotations

from firsthop.call import Call
from firsthop.calls.replies import Replies
from firsthop.calls.telling import Telling
from firsthop.realtime.agent import AgentConversation
from firsthop.realtime.session import Session


class Awaited:
    """Tells what is under way, from what the parts of a call know. It owns nothing.

    Args:
        call: Says whether the agent speaks, and whether the call lasts.
        session: Says whether turns are answered by themselves.
        telling: Has the floor, and what of the agent's sound was not heard yet.
        conversation: Says whether the agent waits for a tool; None if the backend makes it.
        replies: Answers that the agent works at.
    """

    def __init__(
        self,
        call: Call,
        session: Session,
        telling: Telling,
        conversation: AgentConversation | None,
        replies: Replies,
    ) -> None:
        self._call = call
        self._session = session
        self._telling = telling
        self._conversation = conversation
        self._replies = replies

    @property
    def busy(self) -> bool:
        """Whether more is to be heard, or to be waited for, than the caller."""
        invoking = self._conversation is not None and self._conversation.invoking
        answering = invoking or bool(self._replies)
        return not self._telling.output.empty or answering or self._call.ended is not None

    @property
    def quiet(self) -> bool:
        """Whether nobody speaks, and nobody waits for an answer."""
        return not (self._spoken or self.busy or self._answer_due)

    @property
    def answer_owed(self) -> bool:
        """Whether the caller waits for an answer of which nothing was heard."""
        return self._answer_due and not self._spoken and self._telling.output.empty

    @property
    def _spoken(self) -> bool:
        return self._call.speaking or self._telling.floor.caller_speaking

    @property
    def _answer_due(self) -> bool:
        floor, detection = self._telling.floor, self._session.turn_detection
        awaited = floor.turn_open and detection is not None and detection.create_response
        return awaited or floor.answering or bool(self._replies)
