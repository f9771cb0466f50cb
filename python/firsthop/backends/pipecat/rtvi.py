"""RTVI, the messages between Pipecat's bots and clients, and what they are in Realtime events.

Messages of either side are passed on as they are. What clients of the Realtime API need of them is
told in their words as well, and what those send is told to the bot. No I/O, no clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from firsthop.backends.actions import Fail as Fail
from firsthop.backends.actions import ToClient as ToClient
from firsthop.realtime.events import CLIENT_EVENTS, new_id
from firsthop.realtime.messages import message_item
from firsthop.rtvi.messages import LABEL, message

Event = dict[str, Any]

#: What we say we speak when we say that a client is ready.
_VERSION: Final = "2.2.0"
#: Segments of what the bot says that are remembered as told.
_MAX_SEGMENTS: Final = 200
#: Messages of a Realtime client that wait for its ``response.create``; older ones go first.
_MAX_WRITTEN: Final = 20
#: Longest transcript of a turn, and longest error that is told, in characters.
_MAX_TRANSCRIPT: Final = 100_000
_MAX_ERROR: Final = 500


@dataclass(frozen=True, slots=True)
class ToBot:
    """Send a message to the bot."""

    message: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Words:
    """These are the words of what the bot says now, or is about to."""

    text: str


@dataclass(frozen=True, slots=True)
class Speaking:
    """The bot says that it speaks, or has stopped."""

    on: bool


@dataclass(frozen=True, slots=True)
class Unsupported:
    """Count an event of the client that means nothing to a bot."""


Action = ToClient | ToBot | Fail | Words | Speaking | Unsupported


@dataclass(slots=True)
class _Turn:
    """A turn of the caller, as an item of the conversation."""

    item_id: str
    started_ms: int
    transcript: str = ""
    stopped_ms: int | None = None


class Interpreter:
    """Between one bot and one client.

    Args:
        now_ms: Returns how much of the caller was heard, in milliseconds.
        last_item: Returns the id of the last item of the conversation, if there is one.
    """

    def __init__(self, now_ms: Callable[[], int], last_item: Callable[[], str | None]) -> None:
        self._now_ms = now_ms
        self._last_item = last_item
        #: Whether the client has sent a message of RTVI.
        self._fluent = False
        self._turn: _Turn | None = None
        self._written: deque[str] = deque(maxlen=_MAX_WRITTEN)
        self._segments: deque[object] = deque(maxlen=_MAX_SEGMENTS)
        #: Whether the bot tells the newer of two messages that say the same.
        self._tells_output = False
        self._tells_input = False

    def introduce(self) -> list[Action]:
        """Say that the client is ready, if it is not one that says so itself.

        Many bots say nothing before they are told.
        """
        if self._fluent:
            return []
        return [_to_bot("client-ready", {"version": _VERSION, "about": {"library": "firsthop"}})]

    # From the client.

    def from_client(self, event: Mapping[str, Any]) -> list[Action]:
        """Take an event of the client."""
        if event.get("label") == LABEL:
            self._fluent = True
            return [ToBot(event)]
        match event:
            case {"type": "conversation.item.create", "item": {"type": "message", "role": "user"}}:
                if text := _text(event["item"]):
                    self._written.append(text)
                    return []
            case {"type": "response.create"} if self._written:
                return self._send_written(answer=True)
        return _unsupported(event)

    def _send_written(self, *, answer: bool) -> list[Action]:
        """Tell the bot what the client has written."""
        if not self._written:
            return []
        content = "\n".join(self._written)
        self._written.clear()
        options = {"run_immediately": answer, "audio_response": True}
        return [_to_bot("send-text", {"content": content, "options": options})]

    # From the bot.

    def from_bot(self, told: Mapping[str, Any]) -> list[Action]:
        """Take a message of the bot; it has a `LABEL` and a type."""
        data = told.get("data")
        fields: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
        if told["type"] == "error" and not self._fluent:
            # The one type that a Realtime client takes for something else.
            text = fields.get("error")
            what = text[:_MAX_ERROR] if isinstance(text, str) and text else "the bot had an error"
            return [Fail("backend_error", what)]
        return [ToClient(told), *self._translated(told["type"], fields)]

    def _translated(self, kind: str, data: Mapping[str, Any]) -> list[Action]:
        match kind:
            case "user-started-speaking":
                return self._turn_begins()
            case "user-stopped-speaking":
                return self._turn_ends()
            case "user-input" if data.get("input_type") == "transcription":
                self._tells_input = True
                return self._transcribed(data)
            case "user-transcription" if not self._tells_input:
                return self._transcribed(data)
            case "bot-started-speaking" | "bot-stopped-speaking":
                return [Speaking(kind == "bot-started-speaking")]
            case "bot-output":
                self._tells_output = True
                return self._output(data)
            case "bot-tts-text" if not self._tells_output:
                return _words(data)
        return []

    def _turn_begins(self) -> list[Action]:
        turn = self._turn = _Turn(new_id("item"), self._now_ms())
        return [
            *self._send_written(answer=False),
            _event(
                "input_audio_buffer.speech_started",
                audio_start_ms=turn.started_ms,
                item_id=turn.item_id,
            ),
        ]

    def _turn_ends(self) -> list[Action]:
        turn = self._turn
        if turn is None or turn.stopped_ms is not None:
            return []
        stopped = _event(
            "input_audio_buffer.speech_stopped",
            audio_end_ms=self._now_ms(),
            item_id=turn.item_id,
        )
        return [stopped, *self._commit(turn)]

    def _commit(self, turn: _Turn) -> list[Action]:
        """Make a turn an item; what was transcribed of it before follows."""
        turn.stopped_ms = self._now_ms()
        item_id, previous = turn.item_id, self._last_item()
        content = [{"type": "input_audio", "transcript": None}]
        item = message_item(item_id, "user", "completed", content)
        committed = _event(
            "input_audio_buffer.committed", item_id=item_id, previous_item_id=previous
        )
        kinds = ("conversation.item.added", "conversation.item.done")
        added = [_event(kind, item=item, previous_item_id=previous) for kind in kinds]
        return [committed, *added, *self._transcript(turn)]

    def _transcribed(self, data: Mapping[str, Any]) -> list[Action]:
        text = data.get("text")
        if data.get("final") is not True or not isinstance(text, str) or not text.strip():
            return []
        if self._turn is None:
            # A bot that tells nothing of turns: each transcript is one.
            return self._commit(_Turn(new_id("item"), self._now_ms(), text.strip()))
        turn = self._turn
        turn.transcript = f"{turn.transcript} {text.strip()}".lstrip()[:_MAX_TRANSCRIPT]
        return self._transcript(turn)

    def _transcript(self, turn: _Turn) -> list[Action]:
        """What is known of a turn's words: all of it each time, for it comes in parts."""
        if not turn.transcript or turn.stopped_ms is None:
            return []
        seconds = (turn.stopped_ms - turn.started_ms) / 1000
        return [
            _event(
                "conversation.item.input_audio_transcription.completed",
                item_id=turn.item_id,
                content_index=0,
                transcript=turn.transcript,
                usage={"type": "duration", "seconds": seconds},
            )
        ]

    def _output(self, data: Mapping[str, Any]) -> list[Action]:
        """Tell the words of a segment once: some are told before and while they are said."""
        segment = data.get("segment_id")
        if data.get("will_be_spoken") is False or segment in self._segments:
            return []
        if segment is not None:
            self._segments.append(segment)
        return _words(data)


def _to_bot(kind: str, data: Mapping[str, Any]) -> ToBot:
    return ToBot(message(kind, data, new_id("rtvi")))


def _event(kind: str, **fields: object) -> ToClient:
    return ToClient({"type": kind, **fields})


def _words(data: Mapping[str, Any]) -> list[Action]:
    text = data.get("text")
    return [Words(text)] if isinstance(text, str) and text.strip() else []


def _text(item: Mapping[str, Any]) -> str:
    """What a user's message says; it was checked by the time it comes here."""
    parts = [part for part in item["content"] if part["type"] == "input_text"]
    return "\n".join(part["text"] for part in parts)


def _unsupported(event: Mapping[str, Any]) -> list[Action]:
    """Nothing that a bot could be told; the client learns of it if it may have expected more."""
    if event["type"] not in CLIENT_EVENTS:
        return [Unsupported()]
    problem = f"a Pipecat bot cannot be told {event['type']}"
    event_id = event.get("event_id")
    known = event_id if isinstance(event_id, str) else None
    return [Unsupported(), Fail("unsupported_by_backend", problem, known)]
