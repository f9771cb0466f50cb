"""Between a call and a Realtime server: events of either in, actions out. No I/O, no clock.

What the bridge sees to:

- *Every response ends.* For each ``response.created`` that a client was told, it is told one
  ``response.done``, whatever becomes of the server.
- *The server knows what was heard.* What was interrupted is truncated there to what was played.
- *No byte from the server can raise.* What makes no sense is counted and left out.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal

from firsthop.backends.failure import Failure
from firsthop.backends.realtime import sessions
from firsthop.backends.realtime.actions import (
    Action,
    Append,
    EndOfSound,
    Fail,
    Garbled,
    Interrupt,
    Sound,
    ToClient,
    ToServer,
)
from firsthop.backends.realtime.aliases import Aliases
from firsthop.backends.realtime.asks import Asks
from firsthop.backends.realtime.caller import Caller
from firsthop.backends.realtime.dialects import Dialect
from firsthop.backends.realtime.history import retold
from firsthop.backends.realtime.responses import Response
from firsthop.call import AudioFrame, Place, Played, SpeechEnded, SpeechStarted

Event = dict[str, Any]

RATE: Final = 24_000
_BYTES_PER_MS: Final = RATE * 2 / 1000
#: How long a server may take to end a response that it was asked to cancel, or to truncate, in s.
_PATIENCE: Final = 3.0
#: How long a server may take from the end of all that a response has to its own end, in s. There
#: are servers that do not tell it.
_END_PATIENCE: Final = 30.0
#: Responses that are followed at the same time, and finished ones that are remembered.
_MAX_RESPONSES: Final = 32
_MAX_REMEMBERED: Final = 1000
#: Sound that may wait to be played, over all responses: ten minutes.
_MAX_SOUND: Final = 600 * RATE * 2
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
_NEEDS: Final[Mapping[str, Literal["commit", "clear", "delete"]]] = {
    "input_audio_buffer.commit": "commit",
    "input_audio_buffer.clear": "clear",
    "conversation.item.delete": "delete",
}


class _GarbageError(Exception):
    """An event makes no sense."""


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
        self._dialect = dialect
        self._detects_turns = detects_turns
        self._paced = paced
        self._session = session
        self._link: Literal["opening", "open", "lost", "gone"] = "opening"
        self._caller = Caller(RATE)
        self._aliases = Aliases()
        self._asks = Asks()
        self._responses: dict[str, Response] = {}
        self._over: dict[str, None] = {}
        self._sounds: dict[Place, int] = {}
        #: Commits that were not answered: event id -> the item, if the client has its id.
        self._commits: dict[str, str] = {}
        #: Items that a new connection was told of and has not confirmed: id -> type and role.
        self._retold: dict[str, tuple[object, object]] = {}
        self._added: dict[str, None] = {}
        self._settled: dict[str, None] = {}
        self._last_item: str | None = None
        self._turn_item: str | None = None
        self._owes_response = False
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
        return [Append(pcm)] if pcm and self._link != "gone" else []

    def speech_started(self, turn: SpeechStarted, now: float) -> list[Action]:
        """Take note that firsthop hears a turn begin."""
        session = self._session()
        actions: list[Action] = [
            Append(self._caller.start(turn.at_ms, sessions.padding_ms(session)))
        ]
        if sessions.lets_interrupt(session):
            self._owes_response = False
            for response in list(self._responses.values()):
                actions += self._cancel(response, "turn_detected", now)
        return actions

    def speech_ended(self, turn: SpeechEnded) -> list[Action]:
        """Take note that firsthop hears a turn end."""
        self._caller.stop()
        if self._link == "gone":
            return []
        commit = self._asks.ask({"type": "input_audio_buffer.commit"})
        self._commit(commit["event_id"], turn.item_id)
        actions = self._to_server(commit)
        return actions + self._answer() if sessions.wants_answer(self._session()) else actions

    def idle(self) -> list[Action]:
        """Take note that the caller has said nothing for too long."""
        return self._answer() if self._link != "gone" else []

    def message(self, event: Mapping[str, Any], now: float) -> list[Action]:
        """Take an event of a client."""
        kind = event["type"]
        needed = _NEEDS.get(kind)
        if kind == "session.update":
            return self._update(event)
        if kind == "response.cancel":
            return self._cancel_for_client(event, now)
        if kind == "conversation.item.truncate" and not self._can("truncate"):
            return self._told([_truncated(event)])
        # What was said can wait for another connection; what is asked for cannot.
        waits = self._link == "lost" and kind == "conversation.item.create"
        if self._link in ("lost", "gone") and not waits:
            return [self._unreachable(event)]
        if needed is not None and not self._dialect.has(needed):
            message = f"the model's server does not understand {kind}"
            return [Fail("unsupported_by_backend", message, _id(event))]
        if kind == "input_audio_buffer.commit":
            event_id = _id(event) or self._asks.ask(event)["event_id"]
            event = {**event, "event_id": event_id}
            self._commit(event_id, "")
        if kind == "input_audio_buffer.clear":
            self._caller.stop()
        return self._to_server(event)

    def played(self, place: Place, played: Played, now: float) -> list[Action]:
        """Take note that a playback is over."""
        received_ms = int(self._sounds.pop(place, 0) / _BYTES_PER_MS)
        if not played.interrupted:
            return []
        actions: list[Action] = []
        response = self._responses.get(place.response_id)
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
        self._link = "open"
        self._complained = False
        self._origin_ms = max(0, self._caller.at_ms - queued_ms)
        session = sessions.whole(self._session(), detects_turns=self._detects_turns)
        first = self._asks.ask({"type": "session.update", "session": session})
        told = retold(items)
        self._retold = {item["id"]: (item["type"], item.get("role")) for item in told}
        created = [
            self._asks.ask({"type": "conversation.item.create", "item": item}) for item in told
        ]
        return [action for event in (first, *created) for action in self._to_server(event)]

    def lost(self, failure: Failure, *, for_good: bool) -> list[Action]:
        """Take note that there is no connection any more; return what clients are told.

        Args:
            failure: Why.
            for_good: Whether there will be no other.
        """
        first = self._link in ("opening", "open")
        self._link = "gone" if for_good else "lost"
        actions: list[Action] = []
        if first or for_good:
            actions.append(Fail(failure.code, failure.message))
        error = {"type": "server_error", "code": failure.code}
        details = {"type": "failed", "error": error}
        for response in list(self._responses.values()):
            actions += self._close(response, "failed", details)
        actions += self._told(self._asks.abandon())
        if self._turn_item is not None:
            stopped = {"audio_end_ms": self._caller.at_ms, "item_id": self._turn_item}
            actions += self._told([{"type": "input_audio_buffer.speech_stopped", **stopped}])
            self._turn_item = None
        self._aliases.clear()
        self._commits.clear()
        self._retold.clear()
        self._owes_response = False
        return actions

    def due(self) -> float | None:
        """When `overdue` wants to be called, in seconds of the clock."""
        responses = self._responses.values()
        dues = [self._asks.due(), *(r.cancel_by for r in responses), *(r.end_by for r in responses)]
        return min((due for due in dues if due is not None), default=None)

    def overdue(self, now: float) -> list[Action]:
        """Do without what the server has not answered in time."""
        actions = self._told(self._asks.overdue(now))
        for response in list(self._responses.values()):
            if response.cancel_by is not None and response.cancel_by <= now:
                actions += self._close_cancelled(response)
            elif response.end_by is not None and response.end_by <= now:
                actions += self._close(response, "completed", None)
        return actions

    # What the server tells.

    def received(self, event: object, now: float) -> list[Action]:
        """Take what the server sent, parsed, whatever it is."""
        try:
            if not isinstance(event, dict) or not isinstance(event.get("type"), str):
                raise _GarbageError
            return [
                action
                for translated in self._dialect.incoming(event)
                for action in self._take(self._aliases.for_client(translated), now)
            ]
        except _GarbageError:
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
            return self._committed(event)
        if kind in ("conversation.item.added", "conversation.item.done"):
            return self._item(event)
        if kind == "conversation.item.truncated":
            self._asks.answered(kind, event.get("item_id"))
        if kind.startswith("response."):
            return self._of_response(event, now)
        return self._told([event])

    def _of_response(self, event: Event, now: float) -> list[Action]:
        whole = event.get("response")
        if event["type"] in ("response.created", "response.done"):
            response_id = whole.get("id") if isinstance(whole, dict) else None
        elif "response_id" not in event and len(self._responses) == 1:
            # Progress of a tool names its item only.
            response_id = next(iter(self._responses))
        else:
            response_id = event.get("response_id")
        if not isinstance(response_id, str):
            raise _GarbageError
        if response_id in self._over:
            return []
        is_sound = event["type"] == "response.output_audio.delta"
        # Before anybody believes that there is such a response.
        place, pcm = (_place(event), self._pcm(event)) if is_sound else (None, b"")
        created, response = self._follow(response_id, whole)
        if event["type"] == "response.created":
            return created
        if place is not None:
            return created + self._sound(response, event, place, pcm)
        actions = created + self._told(response.tell(event, self._last_item))
        response.end_by = now + _END_PATIENCE if response.finished else None
        if event["type"] == "response.output_audio.done":
            where = (response_id, event.get("item_id"), event.get("content_index", 0))
            actions += [
                EndOfSound(place)
                for place in self._sounds
                if (place.response_id, place.item_id, place.content_index) == where
            ]
        if event["type"] == "response.done":
            actions = self._ends_of_sound(response) + actions + self._forget(response)
        return actions

    def _follow(self, response_id: str, whole: object) -> tuple[list[Action], Response]:
        """Return a response, and how the client is told of it if it does not know it yet."""
        known = self._responses.get(response_id)
        if known is not None:
            return [], known
        if len(self._responses) >= _MAX_RESPONSES:
            raise _GarbageError
        told = whole if isinstance(whole, dict) else {}
        value = {"object": "realtime.response", "output": [], **told}
        value |= {"id": response_id, "status": "in_progress"}
        response = self._responses[response_id] = Response(response_id, value)
        return self._told([{"type": "response.created", "response": value}]), response

    def _pcm(self, event: Event) -> bytes:
        delta = event.get("delta")
        if not isinstance(delta, str):
            raise _GarbageError
        try:
            pcm = base64.b64decode(delta, validate=True)
        except (binascii.Error, ValueError):
            raise _GarbageError from None
        if sum(self._sounds.values()) + len(pcm) > _MAX_SOUND:
            raise _GarbageError
        return pcm

    def _sound(self, response: Response, event: Event, place: Place, pcm: bytes) -> list[Action]:
        actions = self._told(response.tell(event, self._last_item)[:-1])
        if response.muted or not pcm:
            return actions
        self._sounds[place] = self._sounds.get(place, 0) + len(pcm)
        return [*actions, Sound(place, pcm)]

    def _turn(self, event: Event) -> list[Action]:
        if not self._detects_turns:
            return []
        for name in ("audio_start_ms", "audio_end_ms"):
            if type(event.get(name)) is int:
                event[name] += self._origin_ms
        actions = self._told([event])
        if event["type"] == "input_audio_buffer.speech_started":
            self._turn_item = event["item_id"] if isinstance(event.get("item_id"), str) else None
            if sessions.lets_interrupt(self._session()):
                for response in self._responses.values():
                    response.muted = True
                actions.append(Interrupt())
        elif event["type"] == "input_audio_buffer.speech_stopped":
            self._turn_item = None
        return actions

    def _committed(self, event: Event) -> list[Action]:
        theirs = event.get("item_id")
        if not isinstance(theirs, str):
            raise _GarbageError
        if self._commits:
            ours = self._commits.pop(next(iter(self._commits)))
            if ours:
                self._aliases.pair(theirs, ours)
        return self._told([self._aliases.for_client(event)])

    def _item(self, event: Event) -> list[Action]:
        item = event.get("item")
        item_id = item.get("id") if isinstance(item, dict) else None
        if not isinstance(item, dict) or not isinstance(item_id, str):
            raise _GarbageError
        if self._retold and item_id not in self._added:
            event = self._confirm(event, item, item_id)
        self._retold.pop(item_id, None)
        for response in self._responses.values():
            if response.owns(item_id):
                return self._told(response.tell(event, self._last_item))
        return self._told([event])

    def _confirm(self, event: Event, item: Event, item_id: str) -> Event:
        """Find out which item of before a server that gives its own ids means."""
        looks = (item.get("type"), item.get("role"))
        ours = next((n for n, retold in self._retold.items() if retold == looks), None)
        if ours is None:
            return event
        del self._retold[ours]
        self._aliases.pair(item_id, ours)
        return self._aliases.for_client(event)

    def _error(self, event: Event) -> list[Action]:
        given = event.get("error")
        error = given if isinstance(given, dict) else {"message": given}
        event_id = error.get("event_id")
        if isinstance(event_id, str):
            self._commits.pop(event_id, None)
        ask = self._asks.refused(event_id)
        if ask is not None and ask.kind in ("response.cancel", "conversation.item.create"):
            return []
        if ask is not None and ask.otherwise is not None:
            return self._told([ask.otherwise])
        message = error.get("message")
        told = {
            "type": _text(error.get("type"), "server_error"),
            "code": _text(error.get("code"), None),
            "message": _text(message, "the model's server reports an error")[:_MAX_MESSAGE],
            "param": _text(error.get("param"), None),
            "event_id": None if ask is not None else _text(event_id, None),
        }
        return self._told([{**event, "error": told}])

    # What the server is asked.

    def _to_server(self, event: Mapping[str, Any]) -> list[Action]:
        event = self._aliases.for_server(event)
        return [ToServer(translated) for translated in self._dialect.outgoing(event)]

    def _can(self, capability: Literal["cancel", "truncate"]) -> bool:
        return self._link in ("opening", "open") and self._dialect.has(capability)

    def _update(self, event: Mapping[str, Any]) -> list[Action]:
        if self._link != "open":
            # A new connection is told the whole session, with this in it.
            return []
        told = sessions.changed(
            event["session"], self._session(), detects_turns=self._detects_turns
        )
        if not set(told) - {"type", "model"}:
            return []
        return self._to_server({**event, "session": told})

    def _answer(self) -> list[Action]:
        """Ask for a response, or owe it until the one under way has ended."""
        if self._responses:
            self._owes_response = True
            return []
        return self._to_server(self._asks.ask({"type": "response.create"}))

    def _cancel_for_client(self, event: Mapping[str, Any], now: float) -> list[Action]:
        wanted = event.get("response_id")
        ended = [r for r in self._responses.values() if wanted is None or r.id == wanted]
        if not self._can("cancel") or (ended and ended[0].cancel_by is not None):
            return [
                a for response in ended for a in self._cancel(response, "client_cancelled", now)
            ]
        for response in ended:
            response.muted = True
            response.cancel_by = now + _PATIENCE
        self._owes_response = False
        return self._to_server(event)

    def _cancel(self, response: Response, reason: str, now: float) -> list[Action]:
        response.muted = True
        if response.cancel_by is not None:
            return []
        response.cancel_by, response.cancel_reason = now + _PATIENCE, reason
        if not self._can("cancel"):
            return self._close_cancelled(response)
        cancel: Event = {"type": "response.cancel"}
        if len(self._responses) > 1:
            cancel["response_id"] = response.id
        return self._to_server(self._asks.ask(cancel))

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
        if not self._can("truncate"):
            return self._told([otherwise])
        return self._to_server(self._asks.ask(event, due=now + _PATIENCE, otherwise=otherwise))

    def _commit(self, event_id: str, item_id: str) -> None:
        self._commits[event_id] = item_id
        if len(self._commits) > _MAX_RESPONSES:
            del self._commits[next(iter(self._commits))]

    def _unreachable(self, event: Mapping[str, Any]) -> Fail:
        message = "there is no connection to the model's server"
        if self._link == "lost":
            message += " now; try again in a moment"
        return Fail("backend_unreachable", message, _id(event))

    # What the client is told.

    def _told(self, events: Iterable[Mapping[str, Any]]) -> list[Action]:
        """Tell a client events, but not twice of the same item."""
        actions: list[Action] = []
        for event in events:
            if event["type"] == "conversation.item.added":
                actions += self._told_once(event, self._added)
            elif event["type"] == "conversation.item.done":
                added = {**event, "type": "conversation.item.added"}
                added.pop("event_id", None)
                actions += self._told_once(added, self._added)
                actions += self._told_once(event, self._settled)
            else:
                actions.append(ToClient(event))
        return actions

    def _told_once(self, event: Mapping[str, Any], told: dict[str, None]) -> list[Action]:
        item_id = event["item"]["id"]
        if item_id in told:
            return []
        _remember(told, item_id)
        self._last_item = item_id
        return [ToClient(event)]

    def _close_cancelled(self, response: Response) -> list[Action]:
        details = {"type": "cancelled", "reason": response.cancel_reason}
        return self._close(response, "cancelled", details)

    def _close(
        self, response: Response, status: str, details: Mapping[str, Any] | None
    ) -> list[Action]:
        """End a response in the server's place."""
        actions = self._ends_of_sound(response)
        actions += self._told(response.close(status, details))
        return actions + self._forget(response)

    def _ends_of_sound(self, response: Response) -> list[Action]:
        return [EndOfSound(place) for place in self._sounds if place.response_id == response.id]

    def _forget(self, response: Response) -> list[Action]:
        del self._responses[response.id]
        _remember(self._over, response.id)
        if self._owes_response and not self._responses and self._link == "open":
            self._owes_response = False
            return self._answer()
        return []


def _remember(seen: dict[str, None], name: str) -> None:
    seen[name] = None
    if len(seen) > _MAX_REMEMBERED:
        del seen[next(iter(seen))]


def _place(event: Mapping[str, Any]) -> Place:
    response_id, item_id = event.get("response_id"), event.get("item_id")
    output, content = event.get("output_index", 0), event.get("content_index", 0)
    if not isinstance(response_id, str) or not isinstance(item_id, str):
        raise _GarbageError
    if type(output) is not int or type(content) is not int:
        raise _GarbageError
    return Place(response_id, item_id, output, content)


def _truncated(event: Mapping[str, Any]) -> Event:
    """What a server answers to a truncation."""
    fields = ("item_id", "content_index", "audio_end_ms")
    return {"type": "conversation.item.truncated", **{name: event.get(name) for name in fields}}


def _id(event: Mapping[str, Any]) -> str | None:
    event_id = event.get("event_id")
    return event_id if isinstance(event_id, str) else None


def _text(value: object, otherwise: Any) -> Any:
    return value if isinstance(value, str) else otherwise
