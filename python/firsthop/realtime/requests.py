"""Clients' requests for an answer, until there is one.

A client holds back its next request until the last was answered, so each is: by a response of the
agent, by an empty one, or by an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from firsthop.call import CallEvent
from firsthop.errors import EventError
from firsthop.realtime.conversation import Conversation, Item
from firsthop.realtime.events import id_of
from firsthop.realtime.order import Order
from firsthop.realtime.responses import Response
from firsthop.realtime.session import Session

#: Requests for an answer that the agent has not come to yet.
_MAX_WAITING: Final = 20

Refuse = Callable[[EventError], None]


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


@dataclass(frozen=True, slots=True)
class _Request:
    event: CallEvent
    #: How many responses there were when it came.
    begun: int
    refuse: Refuse
    #: What it wants of the answer: ``response`` of its event.
    wanted: Mapping[str, Any]


class Requests:
    """Who asked for an answer and has none. It knows whether the agent works at one.

    Args:
        session: As the client has configured it.
        items: The cache that all events pass.
        order: Where responses are told of.
    """

    def __init__(self, session: Session, items: Conversation, order: Order) -> None:
        self._session = session
        self._items = items
        self._order = order
        #: Answers that the agent works at, which may take several responses.
        self._answers = 0
        #: Requests that the agent has not come to, and those that it has.
        self._due: list[_Request] = []
        self._owed: list[_Request] = []

    def read(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what a client wants of an answer.

        Raises:
            EventError: It makes no sense, or too many requests wait.
        """
        if len(self._due) + len(self._owed) >= _MAX_WAITING:
            message = f"{_MAX_WAITING} requests wait for the agent already"
            raise EventError("too_many_requests", message, event_id=id_of(event))
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

    def ask(self, event: CallEvent, refuse: Refuse, wanted: Mapping[str, Any]) -> None:
        """Take note of a request that the agent will come to.

        Args:
            event: What the agent is told.
            refuse: Tells the client if there is no answer.
            wanted: From `read`.
        """
        self._due.append(_Request(event, self._order.begun, refuse, wanted))

    def owe(self, event: CallEvent, refuse: Refuse, wanted: Mapping[str, Any]) -> None:
        """Take note of a request that the agent is at already; arguments as those of `ask`."""
        self._owed.append(_Request(event, self._order.begun, refuse, wanted))

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

    def answering(self) -> None:
        """Take note that the agent begins to work at an answer."""
        self._answers += 1

    def answered(self) -> None:
        """Take note that it has finished that, in whatever way."""
        self._answers -= 1
        self.handled(None)

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
        unanswered = [request for request in asked if request.begun == self._order.begun]
        if unanswered and not self._order:
            silence = Response(self._session.value)
            silence.close()
            return self._order.begin(silence)
        for request in unanswered:
            message = "the agent is still answering; wait for response.done or cancel it"
            request.refuse(EventError("conversation_already_has_active_response", message))

    def _referred(self, item: Item) -> Item:
        known = self._items.item(str(item.get("id")))
        return known if known is not None and item.get("type") == "item_reference" else item
