"""The Realtime server in front of an agent of ours: it makes the events that agents do not.

An agent hears turns and says things. To the client, a turn is an item, what is said is an item of
a response, and both follow the contract's order: one response at a time is under way, and it is
done when the agent has made all of its sound, which may be long before that was heard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from firsthop.call import CallerIdle, CallEvent, Message, SpeechEnded
from firsthop.realtime.clienttools import ClientTools
from firsthop.realtime.conversation import Conversation
from firsthop.realtime.edits import Edits
from firsthop.realtime.order import Order
from firsthop.realtime.output import Emit, OutputAudioBuffer
from firsthop.realtime.pending import PendingTurns
from firsthop.realtime.requests import Refuse, Requests, Wish
from firsthop.realtime.responses import Response
from firsthop.realtime.session import Session
from firsthop.realtime.speeches import Speeches
from firsthop.realtime.toolcalls import ToolUse


class AgentConversation:
    """One conversation of an agent.

    Args:
        session: As the client has configured it.
        items: The cache that all events pass.
        output: Told what will be played.
        emit: Takes the events for the client.
    """

    def __init__(
        self, session: Session, items: Conversation, output: OutputAudioBuffer, emit: Emit
    ) -> None:
        self._session = session
        self._order = Order(items, emit)
        self._edits = Edits(items, self._order, emit)
        self._requests = Requests(session, items, self._order)
        self._tools = ClientTools(session)
        self._pending = PendingTurns()
        self.speeches = Speeches(session, items, output, self._order, self._edits)
        """What the agent says."""

    @property
    def invoking(self) -> bool:
        """Whether the agent waits for a tool."""
        return bool(self._tools)

    # What the agent does.

    def invoke(
        self, name: str, arguments: Mapping[str, Any], response: Response | None = None
    ) -> asyncio.Future[str]:
        """Ask the client to run one of its tools; its output will be the result.

        Args:
            name: The tool.
            arguments: Its arguments.
            response: What the call belongs to, and which has to be closed for the client to answer;
                None: it is one by itself.

        Raises:
            BackendError: The session has no such tool.
            TypeError: `arguments` hold what JSON cannot; ValueError: a number that it cannot.
        """
        call, output = self._tools.call(name, arguments)
        if response is not None:
            response.add(call)
            self._order.advance()
        else:
            alone = Response(self._session.value)
            alone.add(call)
            alone.close()
            self._order.begin(alone)
        return output

    def use(self, response: Response, server: str, name: str, arguments: str) -> ToolUse:
        """Take note that the agent uses a tool of its own; call `changed` when it is done."""
        use = ToolUse(server, name, arguments)
        response.add(use)
        self._order.advance()
        return use

    def wish(self, event: CallEvent | None) -> Wish:
        """What the client wants of the answer to an event, if it said so."""
        return self._requests.wish(event)

    def begin(self, response: Response) -> None:
        """Let a response be told of, after those that came before."""
        self._order.begin(response)

    def changed(self) -> None:
        """Tell what can be told, after something happened to a response."""
        self._order.advance()

    def answering(self) -> None:
        """Take note that the agent begins to work at an answer."""
        self._requests.answering()

    def answered(self) -> None:
        """Take note that it has finished that, in whatever way."""
        self._requests.answered()

    def handled(self, event: CallEvent | None) -> None:
        """Take note that the agent has done with an event, or with all of them."""
        self._requests.handled(event)

    def active(self, response_id: str | None) -> bool:
        """Whether a response, or any, is not done."""
        return self._order.active(response_id)

    def close(self, reason: str) -> None:
        """Let go of whoever waits: the call is over."""
        self._tools.close(reason)

    # What the caller does.

    def turn(self, turn: SpeechEnded, *, respond: bool) -> list[CallEvent]:
        """Make the caller's turn an item; return what the agent is to be told.

        Args:
            turn: The turn; its `item_id` is the item's.
            respond: Whether it is to be answered now, and not when the client says so.
        """
        self._tools.interrupted()
        self._edits.commit(turn.item_id, [{"type": "input_audio", "transcript": None}])
        self._pending.keep(turn)
        return [self._pending.take()] if respond else []

    def idle(self, idle: CallerIdle, item_id: str) -> list[CallEvent]:
        """Make the caller's silence an item; return what the agent is to be told."""
        self._tools.interrupted()
        self._edits.commit(item_id, [])
        return [idle]

    def receive(self, event: Mapping[str, Any], refuse: Refuse) -> list[CallEvent]:
        """Take one event of the client; return what the agent is to be told.

        Args:
            event: The event.
            refuse: Tells whoever sent it, if it turns out later that it cannot be done.

        Raises:
            EventError: It cannot be done.
        """
        match event["type"]:
            case "conversation.item.create":
                item = self._edits.create(event)
                self._tools.created(item)
                return [Message({**event, "item": item})]
            case "conversation.item.delete":
                self._edits.delete(event)
            case "conversation.item.truncate":
                self._edits.truncate_as_told(event)
            case "response.create":
                return self._asked_to_answer(event, refuse)
        return [Message(event)]

    def _asked_to_answer(self, event: Mapping[str, Any], refuse: Refuse) -> list[CallEvent]:
        wanted = self._requests.read(event)
        if self._tools.goes_on():
            # The agent has been waiting for the tool, and goes on by itself.
            self._requests.owe(Message(event), refuse, wanted)
            return []
        answer = self._pending.take() if self._pending else Message(event)
        self._requests.ask(answer, refuse, wanted)
        return [answer]
