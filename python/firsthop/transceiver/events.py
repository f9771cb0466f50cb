"""The client's event channel: what a Realtime client is told, and what it may ask.

JSON objects on the data channel ``oai-events``, named as the Realtime API names them. Events wait
until the client has opened its channel; a client that opens none misses nothing but events.
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from firsthop.call import Played
from firsthop.config import Settings
from firsthop.overlay import overlaid

#: What waits for the channel to open; it opens within a second or never.
_MAX_WAITING: Final = 100
#: The session that a client may build up, as JSON: what a peer that announces no other limit takes
#: in one message (RFC 8841 §6.1).
_MAX_SESSION_BYTES: Final = 64 * 1024


def new_id(prefix: str) -> str:
    """Return an id that cannot be guessed, as ``item_5f2b...``."""
    return f"{prefix}_{secrets.token_hex(12)}"


@dataclass(slots=True)
class _Response:
    """What the agent says in one go: an utterance to the engine, a response to the client."""

    transcript: str
    id: str = field(default_factory=lambda: new_id("resp"))
    item_id: str = field(default_factory=lambda: new_id("item"))

    def as_object(self, status: str) -> dict[str, Any]:
        item = self.item("completed" if status == "completed" else "incomplete")
        output = [] if status == "in_progress" else [item]
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "output": output,
            "output_modalities": ["audio"],
            "usage": None,
        }

    def item(self, status: str) -> dict[str, Any]:
        content = [{"type": "output_audio", "transcript": self.transcript}]
        return {
            "object": "realtime.item",
            "id": self.item_id,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": content if status != "in_progress" else [],
        }

    def place(self) -> dict[str, Any]:
        return {
            "response_id": self.id,
            "item_id": self.item_id,
            "output_index": 0,
            "content_index": 0,
        }


class RealtimeChannel:
    """Speaks Realtime events with one client.

    Args:
        call_id: Names the session.
        settings: What the session is told to be.
        send_text: Sends one message on the open data channel.
    """

    def __init__(self, call_id: str, settings: Settings, send_text: Callable[[str], None]) -> None:
        self._send_text = send_text
        self._open = False
        self._waiting: list[str] = []
        self._responses: dict[int, _Response] = {}
        self._user_item = new_id("item")
        self._session = _session_object(call_id, settings)

    def opened(self) -> None:
        """Greet the client's channel, then say what has waited for it."""
        self._open = True
        waiting, self._waiting = self._waiting, []
        self._emit("session.created", session=self._session)
        for text in waiting:
            self._send_text(text)

    def send(self, event: Mapping[str, Any]) -> None:
        """Send an event as it is; it gets an ``event_id`` if it has none.

        Raises:
            TypeError: It holds what JSON cannot.
            ValueError: It holds a number that JSON cannot: NaN or an infinity.
        """
        text = _json({"event_id": new_id("event"), **event})
        if self._open:
            self._send_text(text)
        elif len(self._waiting) < _MAX_WAITING:
            self._waiting.append(text)

    def receive(self, text: str) -> Mapping[str, Any] | None:
        """Take one message of the client.

        Returns:
            The event, if it is for the call or its agent; None if it was answered here.
        """
        try:
            event = json.loads(text, parse_constant=_no_number, parse_float=_finite)
        except (ValueError, RecursionError):
            self._refuse(None, "invalid_json", "expected one JSON object per message")
            return None
        if not isinstance(event, dict) or not isinstance(event.get("type"), str):
            message = "expected a JSON object with a string 'type'"
            self._refuse(event, "invalid_event", message, param="type")
            return None
        if event["type"] == "session.update":
            self._update(event)
            return None
        return event

    def speech_started(self, at_ms: int) -> None:
        """Tell that the caller's turn begins."""
        self._user_item = new_id("item")
        self._emit(
            "input_audio_buffer.speech_started", audio_start_ms=at_ms, item_id=self._user_item
        )

    def speech_stopped(self, at_ms: int) -> None:
        """Tell that the caller's turn is over, and make it an item of the conversation."""
        item_id = self._user_item
        self._emit("input_audio_buffer.speech_stopped", audio_end_ms=at_ms, item_id=item_id)
        self._emit("input_audio_buffer.committed", item_id=item_id, previous_item_id=None)
        item = {
            "object": "realtime.item",
            "id": item_id,
            "type": "message",
            "role": "user",
            "status": "completed",
            "content": [{"type": "input_audio", "transcript": None}],
        }
        self._emit("conversation.item.added", item=item, previous_item_id=None)
        self._emit("conversation.item.done", item=item, previous_item_id=None)

    def said(self, utterance: int, transcript: str) -> None:
        """Tell that the agent says something: a response, whose audio comes as RTP."""
        response = _Response(transcript)
        self._responses[utterance] = response
        item = response.item("in_progress")
        part = {"type": "audio", "transcript": ""}
        self._emit("response.created", response=response.as_object("in_progress"))
        self._emit("response.output_item.added", response_id=response.id, output_index=0, item=item)
        self._emit("conversation.item.added", item=item, previous_item_id=None)
        self._emit("response.content_part.added", **response.place(), part=part)

    def playout_started(self, utterance: int) -> None:
        """Tell that its first packet left."""
        response = self._responses.get(utterance)
        if response is None:
            return
        self._emit("output_audio_buffer.started", response_id=response.id)
        if response.transcript:
            self._emit(
                "response.output_audio_transcript.delta",
                **response.place(),
                delta=response.transcript,
            )

    def playout_ended(self, utterance: int, played: Played) -> None:
        """Tell that it is over: to its end, or stopped and how far it came."""
        response = self._responses.pop(utterance, None)
        if response is None:
            return
        place, status = response.place(), "cancelled" if played.interrupted else "completed"
        if played.interrupted:
            self._emit("output_audio_buffer.cleared", response_id=response.id)
            self._emit(
                "conversation.item.truncated",
                item_id=response.item_id,
                content_index=0,
                audio_end_ms=played.ms,
            )
        item = response.item("incomplete" if played.interrupted else "completed")
        self._emit("response.output_audio.done", **place)
        self._emit("response.output_audio_transcript.done", **place, transcript=response.transcript)
        self._emit("response.output_item.done", response_id=response.id, output_index=0, item=item)
        self._emit("conversation.item.done", item=item, previous_item_id=None)
        self._emit("response.done", response=response.as_object(status))
        if not played.interrupted:
            self._emit("output_audio_buffer.stopped", response_id=response.id)

    def failed(self, message: str) -> None:
        """Tell that something of ours went wrong."""
        self._error("server_error", "internal_error", message, None, None)

    def _update(self, event: Mapping[str, Any]) -> None:
        changes = event.get("session")
        if not isinstance(changes, dict):
            self._refuse(event, "invalid_event", "expected an object", param="session")
            return
        try:
            session = overlaid(self._session, changes)
            fits = len(_json(session)) <= _MAX_SESSION_BYTES
        except RecursionError:
            fits = False
        if not fits:
            message = f"at most {_MAX_SESSION_BYTES} bytes of JSON, in a few levels"
            self._refuse(event, "session_too_large", message, param="session")
            return
        self._session = session
        self._emit("session.updated", session=session)

    def _refuse(self, event: object, code: str, message: str, param: str | None = None) -> None:
        event_id = event.get("event_id") if isinstance(event, dict) else None
        # Only what can be an id is sent back.
        known = event_id if isinstance(event_id, str) and len(event_id) <= 512 else None
        self._error("invalid_request_error", code, message, param, known)

    def _error(
        self, kind: str, code: str, message: str, param: str | None, event_id: str | None
    ) -> None:
        error = {
            "type": kind,
            "code": code,
            "message": message,
            "param": param,
            "event_id": event_id,
        }
        self._emit("error", error=error)

    def _emit(self, kind: str, **fields: object) -> None:
        self.send({"type": kind, **fields})


def _session_object(call_id: str, settings: Settings) -> dict[str, Any]:
    turns = settings.turns
    return {
        "object": "realtime.session",
        "type": "realtime",
        "id": f"sess_{call_id.removeprefix('rtc_')}",
        "model": f"firsthop-{settings.backend}",
        "output_modalities": ["audio"],
        "instructions": "",
        "tools": [],
        "tool_choice": "auto",
        "tracing": None,
        "audio": {
            "input": {
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": turns.threshold,
                    "prefix_padding_ms": turns.prefix_padding_ms,
                    "silence_duration_ms": turns.silence_duration_ms,
                    "interrupt_response": turns.interrupt_response,
                    "create_response": True,
                },
            },
            "output": {},
        },
    }


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _finite(text: str) -> float:
    """Parse a number of JSON, which has no infinity to send it back as."""
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is too large a number")
    return number


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
