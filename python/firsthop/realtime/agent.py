"""The Realtime server in front of an agent of ours: it makes the events that agents do not.

An agent hears turns and says things. To the client, a turn is an item, what is said is a response
with an item, and both follow the contract's order: one response at a time is under way, and it is
done when the agent has made all of its sound, which may be long before that was heard.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from firsthop.call import CallerIdle, CallEvent, Message, Played, SpeechEnded
from firsthop.errors import BackendError, EventError, SessionClosed
from firsthop.realtime.conversation import Conversation, Item
from firsthop.realtime.events import as_json, id_of, new_id
from firsthop.realtime.output import Emit, OutputAudioBuffer
from firsthop.realtime.responses import (
    OneItem,
    Response,
    Silence,
    Speech,
    ToolCall,
    Writing,
    message_item,
)
from firsthop.realtime.session import Session

#: Turns that may wait for a `response.create`, and their sound in bytes. The oldest go first.
_MAX_PENDING: Final = 20
_MAX_PENDING_BYTES: Final = 32 * 1024 * 1024
#: Requests for an answer that the agent has not come to yet.
_MAX_DUE: Final = 20
#: Speeches that a client may yet say how much it heard of.
_MAX_SPOKEN: Final = 20
#: Clients count what they were sent, after it was resampled.
_ROUNDING_MS: Final = 20

Refuse = Callable[[EventError], None]


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
        self._items = items
        self._output = output
        self._emit = emit
        #: Responses that are not done, in their order. The first one is under way.
        self._order: deque[Response] = deque()
        self._speeches: dict[int, Speech] = {}
        self._spoken: deque[Speech] = deque(maxlen=_MAX_SPOKEN)
        self._tools: dict[str, asyncio.Future[str]] = {}
        #: Tools' outputs behind which a request for an answer follows that the agent is at already.
        self._answering = 0
        #: How many responses there were, and what asks for one: a client must not wait for ever,
        #: since it holds back its next request until the last was answered.
        self._begun = 0
        self._owed: list[_Request] = []
        self._due: list[_Request] = []
        self._pending: deque[SpeechEnded] = deque()

    @property
    def invoking(self) -> bool:
        """Whether the agent waits for a tool."""
        return bool(self._tools)

    # What the agent does.

    def said(self, utterance: int, text: str) -> None:
        """Take note that the agent says something, after what it says already."""
        speech = Speech(self._session, text)
        self._speeches[utterance] = speech
        self._output.queued(utterance, speech.place)
        self._add(speech)

    def written(self, text: str) -> None:
        """Take note that the agent says something to a client that wants to read it."""
        self._add(Writing(self._session, text))

    def sounded(self, utterance: int, ms: float, deltas: list[str]) -> None:
        """Take note of the next part of its sound; `deltas` are for who gets it in events."""
        speech = self._speeches.get(utterance)
        if speech is None:
            return
        speech.length_ms += ms
        events = [
            {"type": "response.output_audio.delta", **speech.where(), "delta": delta}
            for delta in deltas
        ]
        if speech.announced:
            for event in events:
                self._emit(event)
        else:
            speech.held += events

    def made(self, utterance: int, *, failed: bool) -> None:
        """Take note that all of its sound has been made."""
        if (speech := self._speeches.get(utterance)) is not None:
            speech.outcome = "failed" if failed else "completed"
            self._advance()

    def silenced(self) -> None:
        """Take note that nothing more of what was said will be heard.

        What the client was not told of yet, it never will be.
        """
        for utterance, speech in list(self._speeches.items()):
            if not speech.announced:
                self._withdraw(utterance, speech)

    def played(self, utterance: int, played: Played, reason: str, *, paced: bool) -> None:
        """Take note that it was heard, to its end or until it was stopped.

        Args:
            utterance: Which.
            played: How much of it.
            reason: Why it was stopped, if it was: turn_detected or client_cancelled.
            paced: Whether that much was heard. Else the client says how far it came.
        """
        speech = self._speeches.get(utterance)
        if speech is None:
            return
        if not speech.announced:
            return self._withdraw(utterance, speech)
        del self._speeches[utterance]
        cut = played.interrupted and paced
        if cut:
            speech.transcript = speech.heard(played.ms)
        if speech.outcome is None:
            speech.outcome = "cancelled" if played.interrupted else "completed"
            speech.reason = reason
            self._advance()
        if cut and self._items.item(speech.item_id) is not None:
            self._truncate(speech.item_id, speech.transcript, played.ms)

    def invoke(self, name: str, arguments: Mapping[str, Any]) -> asyncio.Future[str]:
        """Ask the client to run one of its tools; its output will be the result.

        Raises:
            BackendError: The session has no such tool.
            TypeError: `arguments` hold what JSON cannot; ValueError: a number that it cannot.
        """
        tools = self._session.value["tools"]
        names = [tool.get("name") for tool in tools if tool.get("type") == "function"]
        if name not in names:
            known = ", ".join(str(tool) for tool in names) or "none"
            raise BackendError(f"the client offers no tool {name!r}; it offers {known}")
        call = ToolCall(self._session, name, as_json(arguments))
        output = self._tools[call.call_id] = asyncio.get_running_loop().create_future()
        output.add_done_callback(lambda _: self._tools.pop(call.call_id, None))
        self._add(call)
        return output

    def close(self, reason: str) -> None:
        """Let go of whoever waits: the call is over."""
        for output in list(self._tools.values()):
            if not output.done():
                output.set_exception(SessionClosed(reason))

    # What the caller does.

    def turn(self, turn: SpeechEnded, *, respond: bool) -> list[CallEvent]:
        """Make the caller's turn an item; return what the agent is to be told.

        Args:
            turn: The turn; its `item_id` is the item's.
            respond: Whether it is to be answered now, and not when the client says so.
        """
        self._answering = 0
        self._commit(turn.item_id, [{"type": "input_audio", "transcript": None}])
        self._pending.append(turn)
        while (
            len(self._pending) > _MAX_PENDING
            or sum(len(turn.audio) for turn in self._pending) > _MAX_PENDING_BYTES
        ):
            self._pending.popleft()
        return [self._all_pending()] if respond else []

    def idle(self, idle: CallerIdle, item_id: str) -> list[CallEvent]:
        """Make the caller's silence an item; return what the agent is to be told."""
        self._answering = 0
        self._commit(item_id, [])
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
                return self._create_item(event)
            case "conversation.item.delete":
                self._delete(event)
            case "conversation.item.truncate":
                self._truncate_as_told(event)
            case "response.create":
                return self._asked_to_answer(event, refuse)
        return [Message(event)]

    def handled(self, event: CallEvent | None) -> None:
        """Take note that the agent has done with an event, or with all of them.

        If the client asked for an answer by it and got none, it gets an empty one, or learns that
        another answer is under way.
        """
        asked = [*self._owed, *(request for request in self._due if request.event is event)]
        self._due = [request for request in self._due if request.event is not event]
        self._owed = []
        unanswered = [request for request in asked if request.begun == self._begun]
        if unanswered and not self._order:
            return self._add(Silence(self._session))
        for request in unanswered:
            message = "the agent is still answering; wait for response.done or cancel it"
            request.refuse(EventError("conversation_already_has_active_response", message))

    def _asked_to_answer(self, event: Mapping[str, Any], refuse: Refuse) -> list[CallEvent]:
        if len(self._due) + len(self._owed) >= _MAX_DUE:
            message = f"{_MAX_DUE} requests wait for the agent already"
            raise EventError("too_many_requests", message, event_id=id_of(event))
        if self._answering:
            # The agent has been waiting for the tool, and goes on by itself.
            self._answering -= 1
            self._owed.append(_Request(Message(event), self._begun, refuse))
            return []
        answer = self._all_pending() if self._pending else Message(event)
        self._due.append(_Request(answer, self._begun, refuse))
        return [answer]

    def _all_pending(self) -> SpeechEnded:
        """What the caller has said without an answer, as one turn."""
        turns = list(self._pending)
        self._pending.clear()
        return replace(turns[-1], audio=b"".join(turn.audio for turn in turns))

    def _create_item(self, event: Mapping[str, Any]) -> list[CallEvent]:
        item_id = event["item"].get("id") or new_id("item")
        if self._items.item(item_id) is not None:
            message = f"there is an item {item_id!r} already"
            raise EventError("item_exists", message, param="item.id", event_id=id_of(event))
        previous = event.get("previous_item_id") or self._items.last
        if previous is not None and previous != "root" and self._items.item(previous) is None:
            message = f"no item {previous!r} in this conversation"
            raise EventError(
                "item_not_found", message, param="previous_item_id", event_id=id_of(event)
            )
        given = {name: value for name, value in event["item"].items() if value is not None}
        item = {"status": "completed", **given, "object": "realtime.item", "id": item_id}
        first = previous == "root"
        self._tell_item(item, None if first else previous)
        self._items.place(item_id, after=None if first else previous)
        waiting = None
        if item["type"] == "function_call_output":
            waiting = self._tools.get(item["call_id"])
        if waiting is None:
            self._answering = 0
        elif not waiting.done():
            waiting.set_result(item["output"])
            self._answering += 1
        return [Message({**event, "item": item})]

    def _delete(self, event: Mapping[str, Any]) -> None:
        item_id = self._known_item(event)["id"]
        if any(isinstance(one, OneItem) and one.item_id == item_id for one in self._order):
            message = "the item is being made; cancel its response first"
            raise EventError("item_in_progress", message, param="item_id", event_id=id_of(event))
        self._emit({"type": "conversation.item.deleted", "item_id": event["item_id"]})

    def _truncate_as_told(self, event: Mapping[str, Any]) -> None:
        """Believe a client how much of an item was heard, as far as it can be."""
        item, ms = self._known_item(event), event["audio_end_ms"]
        if item.get("type") != "message" or item.get("role") != "assistant":
            message = "only what the assistant said can be truncated"
            raise EventError("invalid_value", message, param="item_id", event_id=id_of(event))
        if event["content_index"] != 0:
            message = "the item has one part, number 0"
            raise EventError("invalid_value", message, param="content_index", event_id=id_of(event))
        speech = next((one for one in self._spoken if one.item_id == item["id"]), None)
        if speech is None:
            return self._truncate(item["id"], None, ms)
        if ms > speech.length_ms + _ROUNDING_MS:
            message = f"only {round(speech.length_ms)} ms of sound were made"
            raise EventError("invalid_value", message, param="audio_end_ms", event_id=id_of(event))
        self._truncate(item["id"], speech.heard(ms), ms)

    def _known_item(self, event: Mapping[str, Any]) -> Item:
        item = self._items.item(event["item_id"])
        if item is None:
            raise unknown_item(event)
        return item

    def _truncate(self, item_id: str, text: str | None, ms: int) -> None:
        """Tell how much of an item was heard, and remember what its words were."""
        self._items.cut(item_id, text)
        self._emit(
            {
                "type": "conversation.item.truncated",
                "item_id": item_id,
                "content_index": 0,
                "audio_end_ms": ms,
            }
        )

    def _withdraw(self, utterance: int, speech: Speech) -> None:
        """Forget what nobody was told of."""
        del self._speeches[utterance]
        self._order.remove(speech)
        self._output.withdrawn(utterance)

    def _commit(self, item_id: str, content: list[dict[str, Any]]) -> None:
        previous = self._items.last
        self._emit(
            {
                "type": "input_audio_buffer.committed",
                "item_id": item_id,
                "previous_item_id": previous,
            }
        )
        self._tell_item(message_item(item_id, "user", "completed", content), previous)

    def _tell_item(self, item: Mapping[str, Any], previous: str | None) -> None:
        for kind in ("conversation.item.added", "conversation.item.done"):
            self._emit({"type": kind, "item": item, "previous_item_id": previous})

    # The order of responses.

    def _add(self, response: Response) -> None:
        self._begun += 1
        self._order.append(response)
        self._advance()

    def _advance(self) -> None:
        """Announce the first response, and end it if it is complete; then the next."""
        while self._order:
            response = self._order[0]
            if not response.announced:
                response.announced = True
                if isinstance(response, Speech):
                    self._spoken.append(response)
                response.announce(self._emit, self._items.last)
            if response.outcome is None:
                return
            self._order.popleft()
            response.finish(self._emit)


def unknown_item(event: Mapping[str, Any]) -> EventError:
    """The error that answers an event about an item that is not there."""
    message = f"no item {event['item_id']!r} in this conversation"
    return EventError("item_not_found", message, param="item_id", event_id=id_of(event))


@dataclass(frozen=True, slots=True)
class _Request:
    """A client's request for an answer."""

    event: CallEvent
    #: How many responses there were when it came.
    begun: int
    refuse: Refuse
