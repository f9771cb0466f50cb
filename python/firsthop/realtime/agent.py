"""The Realtime server in front of an agent of ours: it makes the events that agents do not.

An agent hears turns and says things. To the client, a turn is an item, what is said is an item of
a response, and both follow the contract's order: one response at a time is under way, and it is
done when the agent has made all of its sound, which may be long before that was heard.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from firsthop.call import CallerIdle, CallEvent, Message, Played, SpeechEnded
from firsthop.errors import BackendError, EventError, SessionClosed
from firsthop.realtime.conversation import Conversation, Item
from firsthop.realtime.events import as_json, id_of, new_id
from firsthop.realtime.output import Emit, OutputAudioBuffer
from firsthop.realtime.responses import (
    OutputItem,
    Response,
    Speech,
    ToolCall,
    ToolUse,
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
        self._speeches: dict[int, Speech | Writing] = {}
        self._spoken: deque[Speech] = deque(maxlen=_MAX_SPOKEN)
        self._tools: dict[str, asyncio.Future[str]] = {}
        #: Answers that the agent works at, which may take several responses.
        self._answers = 0
        #: Tools' outputs behind which a request for an answer follows that the agent is at already.
        self._answering = 0
        #: How many responses there were, and what asks for one: a client must not wait for ever,
        #: since it holds back its next request until the last was answered.
        self._begun = 0
        self._owed: list[_Request] = []
        self._due: list[_Request] = []
        self._pending: deque[SpeechEnded] = deque()
        self._advancing = False

    @property
    def invoking(self) -> bool:
        """Whether the agent waits for a tool."""
        return bool(self._tools)

    # What the agent does.

    def said(
        self, utterance: int, text: str, response: Response | None = None, *, heard: bool = True
    ) -> None:
        """Take note that the agent says something, after what it says already.

        Args:
            utterance: Which.
            text: Its words, as far as they are known.
            response: What it belongs to; None: it is one by itself.
            heard: Whether it is heard, and not read.
        """
        item: Speech | Writing = Speech() if heard else Writing()
        self._speeches[utterance] = item
        whole = response is None
        if response is None:
            response = Response(self._session.value)
        response.add(item)
        if isinstance(item, Speech):
            self._output.queued(utterance, item.place)
        if text:
            item.word(text)
        if whole:
            response.close()
            self.begin(response)
        else:
            self._advance()

    def worded(self, utterance: int, text: str) -> None:
        """Take note of its next words, which the sound that comes next says."""
        if text and (item := self._speeches.get(utterance)) is not None:
            item.word(text)

    def sounded(self, utterance: int, ms: float, deltas: list[str]) -> None:
        """Take note of the next part of its sound; `deltas` are for who gets it in events."""
        item = self._speeches.get(utterance)
        if isinstance(item, Speech):
            item.sound(ms, deltas)

    def made(self, utterance: int, *, failed: bool) -> None:
        """Take note that all of its sound has been made."""
        if (item := self._speeches.get(utterance)) is not None:
            item.outcome = "failed" if failed else "completed"
            self._advance()

    def silenced(self) -> None:
        """Take note that nothing more of what was said will be heard.

        What the client was not told of yet, it never will be.
        """
        for utterance, item in list(self._speeches.items()):
            if not item.announced:
                self._withdraw(utterance, item)
        self._advance()

    def played(self, utterance: int, played: Played, reason: str, *, paced: bool) -> None:
        """Take note that it was heard, to its end or until it was stopped.

        Args:
            utterance: Which.
            played: How much of it.
            reason: Why it was stopped, if it was: turn_detected or client_cancelled.
            paced: Whether that much was heard. Else the client says how far it came.
        """
        item = self._speeches.get(utterance)
        if item is None:
            return
        if played.interrupted and not item.announced:
            self._withdraw(utterance, item)
            return self._advance()
        del self._speeches[utterance]
        cut = played.interrupted and paced and isinstance(item, Speech)
        if isinstance(item, Speech) and cut:
            item.transcript = item.heard(played.ms)
        if item.outcome is None:
            item.outcome = "cancelled" if played.interrupted else "completed"
            item.reason = reason if played.interrupted else ""
            self._advance()
        if isinstance(item, Speech) and cut and self._items.item(item.item_id) is not None:
            self._truncate(item.item_id, item.transcript, played.ms)

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
        tools = self._session.value["tools"]
        names = [tool.get("name") for tool in tools if tool.get("type") == "function"]
        if name not in names:
            known = ", ".join(str(tool) for tool in names) or "none"
            raise BackendError(f"the client offers no tool {name!r}; it offers {known}")
        call = ToolCall(name, as_json(arguments))
        output = self._tools[call.call_id] = asyncio.get_running_loop().create_future()
        output.add_done_callback(lambda _: self._tools.pop(call.call_id, None))
        if response is not None:
            response.add(call)
            self._advance()
        else:
            alone = Response(self._session.value)
            alone.add(call)
            alone.close()
            self.begin(alone)
        return output

    def use(self, response: Response, server: str, name: str, arguments: str) -> ToolUse:
        """Take note that the agent uses a tool of its own; call `changed` when it is done."""
        use = ToolUse(server, name, arguments)
        response.add(use)
        self._advance()
        return use

    def wish(self, event: CallEvent | None) -> Wish:
        """What the client wants of the answer to an event, if it said so."""
        requests = [one for one in (*self._due, *self._owed) if one.event is event]
        wanted = requests[-1].wanted if requests and event is not None else {}
        given = wanted.get("input")
        return Wish(
            session=self._session.varied(wanted),
            metadata=wanted.get("metadata"),
            apart=wanted.get("conversation") == "none",
            input=None if given is None else [self._referred(item) for item in given],
        )

    def _referred(self, item: Item) -> Item:
        known = self._items.item(str(item.get("id")))
        return known if known is not None and item.get("type") == "item_reference" else item

    def begin(self, response: Response) -> None:
        """Let a response be told of, after those that came before."""
        self._begun += 1
        self._order.append(response)
        self._advance()

    def changed(self) -> None:
        """Tell what can be told, after something happened to a response."""
        self._advance()

    def answering(self) -> None:
        """Take note that the agent begins to work at an answer."""
        self._answers += 1

    def answered(self) -> None:
        """Take note that it has finished that, in whatever way."""
        self._answers -= 1
        self.handled(None)

    def active(self, response_id: str | None) -> bool:
        """Whether a response, or any, is not done."""
        return any(response_id in (None, response.id) for response in self._order)

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
        self._owed += [request for request in self._due if request.event is event]
        self._due = [request for request in self._due if request.event is not event]
        if self._answers:
            # It came back for the next event, and works at its answer beside.
            return
        asked, self._owed = self._owed, []
        unanswered = [request for request in asked if request.begun == self._begun]
        if unanswered and not self._order:
            silence = Response(self._session.value)
            silence.close()
            return self.begin(silence)
        for request in unanswered:
            message = "the agent is still answering; wait for response.done or cancel it"
            request.refuse(EventError("conversation_already_has_active_response", message))

    def _asked_to_answer(self, event: Mapping[str, Any], refuse: Refuse) -> list[CallEvent]:
        if len(self._due) + len(self._owed) >= _MAX_DUE:
            message = f"{_MAX_DUE} requests wait for the agent already"
            raise EventError("too_many_requests", message, event_id=id_of(event))
        wanted = self._wanted(event)
        if self._answering:
            # The agent has been waiting for the tool, and goes on by itself.
            self._answering -= 1
            self._owed.append(_Request(Message(event), self._begun, refuse, wanted))
            return []
        answer = self._all_pending() if self._pending else Message(event)
        self._due.append(_Request(answer, self._begun, refuse, wanted))
        return [answer]

    def _wanted(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a client wants of an answer, once it is known to make sense."""
        wanted: Mapping[str, Any] = event.get("response") or {}
        given = wanted.get("input")
        try:
            self._session.varied(wanted)
            if not isinstance(given, list | None) or not all(
                isinstance(item, dict) for item in given or ()
            ):
                raise EventError("invalid_value", "expected a list of items", param="input")
            if not isinstance(wanted.get("metadata"), dict | None):
                raise EventError("invalid_value", "expected an object", param="metadata")
        except EventError as error:
            param = (error.param or "").removeprefix("session.")
            raise EventError(
                error.code, error.message, param=f"response.{param}", event_id=id_of(event)
            ) from None
        return wanted

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
        if any(item.item_id == item_id for one in self._order for item in one.items):
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

    def _withdraw(self, utterance: int, item: OutputItem) -> None:
        """Forget what nobody was told of."""
        del self._speeches[utterance]
        self._output.withdrawn(utterance)
        for response in self._order:
            if item in response.items:
                response.remove(item)
                if not response.items and not response.open and not response.announced:
                    self._order.remove(response)
                return

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

    def _advance(self) -> None:
        """Tell of the first response, and end it if it is complete; then the next.

        What is told may lead back here: the agent begins to work when its response is told of.
        """
        while self._order and not self._advancing:
            response = self._order[0]
            self._advancing = True
            try:
                done = response.advance(self._emit, lambda: self._items.last)
            finally:
                self._advancing = False
            for item in response.items:
                if isinstance(item, Speech) and item.announced and item not in self._spoken:
                    self._spoken.append(item)
            if not done:
                return
            self._order.popleft()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """How an answer is wanted."""

    session: Mapping[str, Any]
    """The session as it is for this answer."""
    metadata: Mapping[str, Any] | None = None
    apart: bool = False
    """Whether its items stay out of the conversation."""
    input: Sequence[Item] | None = None
    """What is to be answered instead of the conversation."""

    def response(self, begin: Callable[[], None] | None = None) -> Response:
        """Return a response that is like this; `begin` is called when it is announced."""
        return Response(self.session, metadata=self.metadata, apart=self.apart, begin=begin)


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
    #: What it wants of the answer: ``response`` of its event.
    wanted: Mapping[str, Any]
