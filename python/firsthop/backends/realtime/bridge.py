"""Between a call and a Realtime server: events of either in, actions out. No I/O, no clock.

What the bridge sees to:

- *Every response ends.* For each ``response.created`` that a client was told, it is told one
  ``response.done``, whatever becomes of the server.
- *The server knows what was heard.* What was interrupted is truncated there to what was played.
- *No byte from the server can raise.* What makes no sense is counted and left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from firsthop.backends.failure import Failure
from firsthop.backends.realtime import sessions
from firsthop.backends.realtime.actions import (
    Action,
    Append,
    Fail,
    Garbled,
    Interrupt,
    Sound,
)
from firsthop.backends.realtime.caller import Caller
from firsthop.backends.realtime.dialects import Dialect
from firsthop.backends.realtime.items import Items
from firsthop.backends.realtime.reading import (
    GarbageError,
    id_of,
    pcm_of,
    place_of,
    text_of,
)
from firsthop.backends.realtime.responses import Response
from firsthop.backends.realtime.running import RATE as RATE
from firsthop.backends.realtime.running import Running
from firsthop.backends.realtime.server import Capability, Server
from firsthop.call import AudioFrame, Place, Played, SpeechEnded, SpeechStarted

Event = dict[str, Any]

#: How long a server may take to end a response that it was asked to cancel, or to truncate, in s.
_PATIENCE: Final = 3.0
#: How long a server may take from the end of all that a response has to its own end, in s. There
#: are servers that do not tell it.
_END_PATIENCE: Final = 30.0
#: The longest message of a server's error that is passed on, in characters.
_MAX_MESSAGE: Final = 2000

#: What only this side of firsthop is told, or tells itself.
_ABSORBED: Final = frozenset(
    {
        "session.created",
        "session.updated",
        "conversation.created",
        "output_audio_buffer.started",
        "output_audio_buffer.stopped",
        "output_audio_buffer.cleared",
    }
)
_TURNS: Final = frozenset(
    {
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.timeout_triggered",
    }
)
#: What a client may ask that not every server understands -> the capability.
_NEEDS: Final[Mapping[str, Capability]] = {
    "input_audio_buffer.commit": "commit",
    "input_audio_buffer.clear": "clear",
    "conversation.item.delete": "delete",
}


class Bridge:
    """One call's side of a Realtime server, over as many connections as it takes.

    Args:
        dialect: What the server speaks.
        detects_turns: Whether it decides where turns end.
        paced: Whether what was played is known; else the client tells the server itself.
        session: Returns the call's session.
    """

    def __init__(
        self,
        dialect: Dialect,
        *,
        detects_turns: bool,
        paced: bool,
        session: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._detects_turns = detects_turns
        self._paced = paced
        self._session = session
        self._caller = Caller(RATE)
        self._items = Items()
        self._server = Server(dialect, self._items)
        self._running = Running()
        #: The turn of the caller that the server hears.
        self._turn_item: str | None = None
        self._owes_response = False
        #: Where the server's clock begins on ours.
        self._origin_ms = 0
        self._complained = False

    # What the call tells.

    def heard(self, frame: AudioFrame) -> list[Action]:
        """Take a piece of the caller's sound."""
        session = self._session()
        manual = sessions.is_manual(session)
        if manual:
            self._caller.stop()
        pcm = self._caller.hear(
            frame,
            everything=self._detects_turns or manual,
            padding_ms=sessions.padding_ms(session),
        )
        return [Append(pcm)] if pcm and self._server.link != "gone" else []

    def speech_started(self, turn: SpeechStarted, now: float) -> list[Action]:
        """Take note that firsthop hears a turn begin."""
        session = self._session()
        actions: list[Action] = [
            Append(self._caller.start(turn.at_ms, sessions.padding_ms(session)))
        ]
        if sessions.lets_interrupt(session):
            self._owes_response = False
            for response in self._running:
                actions += self._cancel(response, "turn_detected", now)
        return actions

    def speech_ended(self, turn: SpeechEnded) -> list[Action]:
        """Take note that firsthop hears a turn end."""
        self._caller.stop()
        if self._server.link == "gone":
            return []
        actions = self._server.commit({"type": "input_audio_buffer.commit"}, turn.item_id)
        return actions + self._answer() if sessions.wants_answer(self._session()) else actions

    def idle(self) -> list[Action]:
        """Take note that the caller has said nothing for too long."""
        return self._answer() if self._server.link != "gone" else []

    def message(self, event: Mapping[str, Any], now: float) -> list[Action]:
        """Take an event of a client."""
        kind = event["type"]
        needed = _NEEDS.get(kind)
        if kind == "session.update":
            return self._update(event)
        if kind == "response.cancel":
            return self._cancel_for_client(event, now)
        if kind == "conversation.item.truncate" and not self._server.can("truncate"):
            return self._items.tell([_truncated(event)])
        # What was said can wait for another connection; what is asked for cannot.
        waits = self._server.link == "lost" and kind == "conversation.item.create"
        if self._server.link in ("lost", "gone") and not waits:
            return [self._server.unreachable(event)]
        if needed is not None and not self._server.has(needed):
            message = f"the model's server does not understand {kind}"
            return [Fail("unsupported_by_backend", message, id_of(event))]
        if kind == "input_audio_buffer.commit":
            return self._server.commit(event, "")
        if kind == "input_audio_buffer.clear":
            self._caller.stop()
        return self._server.send(event)

    def played(self, place: Place, played: Played, now: float) -> list[Action]:
        """Take note that a playback is over."""
        received_ms = self._running.played(place)
        if not played.interrupted:
            return []
        actions: list[Action] = []
        response = self._running.response(place.response_id)
        if response is not None and not response.muted:
            # Neither the server nor the client has ended it: the caller cut it off here.
            actions += self._cancel(response, "client_cancelled", now)
        return actions + self._truncate(place, min(played.ms, received_ms), now)

    # What becomes of the connection.

    def opened(self, items: Iterable[Mapping[str, Any]], queued_ms: int) -> list[Action]:
        """Return what a new connection is told first.

        Args:
            items: The conversation so far.
            queued_ms: How much of the caller's sound waits to be sent on it.
        """
        items = list(items)
        if self._server.link == "opening":
            # What was said in the call before this one, if it goes on with one.
            self._items.known(items)
        self._server.opened()
        self._complained = False
        self._origin_ms = max(0, self._caller.at_ms - queued_ms)
        session = sessions.whole(self._session(), detects_turns=self._detects_turns)
        actions = self._server.ask({"type": "session.update", "session": session})
        for item in self._items.retell(items):
            actions += self._server.ask({"type": "conversation.item.create", "item": item})
        return actions

    def lost(self, failure: Failure, *, for_good: bool) -> list[Action]:
        """Take note that there is no connection any more; return what clients are told.

        Args:
            failure: Why.
            for_good: Whether there will be no other.
        """
        first = self._server.link in ("opening", "open")
        unanswered = self._server.lost(for_good=for_good)
        actions: list[Action] = []
        if first or for_good:
            actions.append(Fail(failure.code, failure.message))
        error = {"type": "server_error", "code": failure.code}
        details = {"type": "failed", "error": error}
        for response in self._running:
            actions += self._close(response, "failed", details)
        actions += self._items.tell(unanswered)
        if self._turn_item is not None:
            stopped = {"audio_end_ms": self._caller.at_ms, "item_id": self._turn_item}
            actions += self._items.tell([{"type": "input_audio_buffer.speech_stopped", **stopped}])
            self._turn_item = None
        self._owes_response = False
        return actions

    def due(self) -> float | None:
        """When `overdue` wants to be called, in seconds of the clock."""
        dues = (self._server.due(), self._running.due())
        return min((due for due in dues if due is not None), default=None)

    def overdue(self, now: float) -> list[Action]:
        """Do without what the server has not answered in time."""
        actions = self._items.tell(self._server.overdue(now))
        for response in self._running:
            if response.cancel_by is not None and response.cancel_by <= now:
                actions += self._close_cancelled(response)
            elif response.end_by is not None and response.end_by <= now:
                actions += self._close(response, "completed", None)
        return actions

    # What the server tells.

    def received(self, event: object, now: float) -> list[Action]:
        """Take what the server sent, parsed, whatever it is."""
        try:
            return [
                action
                for translated in self._server.translated(event)
                for action in self._take(translated, now)
            ]
        except GarbageError:
            return self.garbled()

    def garbled(self) -> list[Action]:
        """Take note of something that is no event; the first of a connection is told."""
        if self._complained:
            return [Garbled()]
        self._complained = True
        message = "the model's server sent something that makes no sense; it was ignored"
        return [Garbled(), Fail("backend_garbage", message)]

    def _take(self, event: Event, now: float) -> list[Action]:
        kind = event["type"]
        if kind in _ABSORBED:
            return []
        if kind == "error":
            return self._error(event)
        if kind in _TURNS:
            return self._turn(event)
        if kind == "input_audio_buffer.committed":
            return self._items.tell([self._items.committed(event)])
        if kind in ("conversation.item.added", "conversation.item.done"):
            return self._item(event)
        if kind == "conversation.item.truncated":
            self._server.truncated(event.get("item_id"))
        if kind.startswith("response."):
            return self._of_response(event, now)
        return self._items.tell([event])

    def _of_response(self, event: Event, now: float) -> list[Action]:
        response_id = self._running.named(event)
        if self._running.was(response_id):
            return []
        is_sound = event["type"] == "response.output_audio.delta"
        # Before anybody believes that there is such a response.
        place, pcm = self._sound_in(event) if is_sound else (None, b"")
        created, response = self._follow(response_id, event.get("response"))
        if event["type"] == "response.created":
            return created
        if place is not None:
            return created + self._sound(response, event, place, pcm)
        actions = created + self._items.tell(response.tell(event, self._items.last))
        response.end_by = now + _END_PATIENCE if response.finished else None
        if event["type"] == "response.output_audio.done":
            actions += self._running.ends_of_part(event)
        if event["type"] == "response.done":
            actions = self._running.ends_of(response) + actions + self._forget(response)
        return actions

    def _follow(self, response_id: str, whole: object) -> tuple[list[Action], Response]:
        """Return a response, and how the client is told of it if it does not know it yet."""
        response = self._running.response(response_id)
        if response is not None:
            return [], response
        response = self._running.begin(response_id, whole)
        told = {"type": "response.created", "response": response.value}
        return self._items.tell([told]), response

    def _sound_in(self, event: Event) -> tuple[Place, bytes]:
        place, pcm = place_of(event), pcm_of(event)
        self._running.check_room(pcm)
        return place, pcm

    def _sound(self, response: Response, event: Event, place: Place, pcm: bytes) -> list[Action]:
        actions = self._items.tell(response.tell(event, self._items.last)[:-1])
        if response.muted or not pcm:
            return actions
        self._running.sounded(place, pcm)
        return [*actions, Sound(place, pcm)]

    def _turn(self, event: Event) -> list[Action]:
        if not self._detects_turns:
            return []
        for name in ("audio_start_ms", "audio_end_ms"):
            if type(event.get(name)) is int:
                event[name] += self._origin_ms
        actions = self._items.tell([event])
        if event["type"] == "input_audio_buffer.speech_started":
            self._turn_item = event["item_id"] if isinstance(event.get("item_id"), str) else None
            if sessions.lets_interrupt(self._session()):
                for response in self._running:
                    response.muted = True
                actions.append(Interrupt())
        elif event["type"] == "input_audio_buffer.speech_stopped":
            self._turn_item = None
        return actions

    def _item(self, event: Event) -> list[Action]:
        item_id, event = self._items.recognised(event)
        response = self._running.with_item(item_id)
        if response is not None:
            return self._items.tell(response.tell(event, self._items.last))
        return self._items.tell([event])

    def _error(self, event: Event) -> list[Action]:
        given = event.get("error")
        error = given if isinstance(given, dict) else {"message": given}
        event_id = error.get("event_id")
        ask = self._server.refused(event_id)
        if ask is not None and ask.kind in ("response.cancel", "conversation.item.create"):
            return []
        if ask is not None and ask.otherwise is not None:
            return self._items.tell([ask.otherwise])
        message = error.get("message")
        told = {
            "type": text_of(error.get("type"), "server_error"),
            "code": text_of(error.get("code"), None),
            "message": text_of(message, "the model's server reports an error")[:_MAX_MESSAGE],
            "param": text_of(error.get("param"), None),
            "event_id": None if ask is not None else text_of(event_id, None),
        }
        return self._items.tell([{**event, "error": told}])

    # What the server is asked.

    def _update(self, event: Mapping[str, Any]) -> list[Action]:
        if self._server.link != "open":
            # A new connection is told the whole session, with this in it.
            return []
        told = sessions.changed(
            event["session"], self._session(), detects_turns=self._detects_turns
        )
        if not set(told) - {"type", "model"}:
            return []
        return self._server.send({**event, "session": told})

    def _answer(self) -> list[Action]:
        """Ask for a response, or owe it until the one under way has ended."""
        if self._running:
            self._owes_response = True
            return []
        return self._server.ask({"type": "response.create"})

    def _cancel_for_client(self, event: Mapping[str, Any], now: float) -> list[Action]:
        wanted = event.get("response_id")
        ended = [r for r in self._running if wanted is None or r.id == wanted]
        if not self._server.can("cancel") or (ended and ended[0].cancel_by is not None):
            return [
                a for response in ended for a in self._cancel(response, "client_cancelled", now)
            ]
        for response in ended:
            response.muted = True
            response.cancel_by = now + _PATIENCE
        self._owes_response = False
        return self._server.send(event)

    def _cancel(self, response: Response, reason: str, now: float) -> list[Action]:
        response.muted = True
        if response.cancel_by is not None:
            return []
        response.cancel_by, response.cancel_reason = now + _PATIENCE, reason
        if not self._server.can("cancel"):
            return self._close_cancelled(response)
        cancel: Event = {"type": "response.cancel"}
        if len(self._running) > 1:
            cancel["response_id"] = response.id
        return self._server.ask(cancel)

    def _truncate(self, place: Place, audio_end_ms: int, now: float) -> list[Action]:
        if not self._paced:
            return []
        event = {
            "type": "conversation.item.truncate",
            "item_id": place.item_id,
            "content_index": place.content_index,
            "audio_end_ms": audio_end_ms,
        }
        otherwise = _truncated(event)
        if not self._server.can("truncate"):
            return self._items.tell([otherwise])
        return self._server.ask(event, due=now + _PATIENCE, otherwise=otherwise)

    # How responses end.

    def _close_cancelled(self, response: Response) -> list[Action]:
        details = {"type": "cancelled", "reason": response.cancel_reason}
        return self._close(response, "cancelled", details)

    def _close(
        self, response: Response, status: str, details: Mapping[str, Any] | None
    ) -> list[Action]:
        """End a response in the server's place."""
        actions = self._running.ends_of(response)
        actions += self._items.tell(response.close(status, details))
        return actions + self._forget(response)

    def _forget(self, response: Response) -> list[Action]:
        self._running.forget(response)
        if self._owes_response and not self._running and self._server.link == "open":
            self._owes_response = False
            return self._answer()
        return []


def _truncated(event: Mapping[str, Any]) -> Event:
    """What a server answers to a truncation."""
    fields = ("item_id", "content_index", "audio_end_ms")
    return {"type": "conversation.item.truncated", **{name: event.get(name) for name in fields}}
