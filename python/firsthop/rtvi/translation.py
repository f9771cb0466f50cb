"""Between an RTVI client and a call that speaks the Realtime contract. No I/O, no clock.

- What a client asks for becomes events; what cannot be done is answered with an error.
- What happens in the call becomes messages. An event that the contract does not know is for the
  application: if an agent labelled it as RTVI it goes as it is, else as a ``server-message``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from firsthop.realtime.events import from_json
from firsthop.rtvi import requests
from firsthop.rtvi.messages import LABEL, Message, RequestError, error, id_of, message, welcome
from firsthop.rtvi.output import Output
from firsthop.rtvi.requests import Event

#: Messages of the client that errors may be about.
_MAX_ASKED: Final = 64
#: Tools that may be at work.
_MAX_TOOLS: Final = 64
#: Turns whose transcripts may be under way, and the longest, in characters.
_MAX_TURNS: Final = 8
_MAX_TRANSCRIPT: Final = 64_000
#: How the types of the contract's events begin.
_CONTRACT: Final = frozenset(
    {"session", "conversation", "response", "rate_limits", "mcp_list_tools"}
    | {"input_audio_buffer", "output_audio_buffer"}
)
_PLAYOUT: Final = {
    "output_audio_buffer.started": Output.started,
    "output_audio_buffer.stopped": Output.stopped,
    "output_audio_buffer.cleared": Output.cleared,
    "response.done": Output.done,
}
#: Types of the contract's events that say nothing but themselves.
_PLAIN: Final[Mapping[str, str]] = {
    "input_audio_buffer.speech_started": "user-started-speaking",
    "input_audio_buffer.speech_stopped": "user-stopped-speaking",
    "response.output_audio.done": "bot-tts-stopped",
}


class Translation:
    """One call's.

    Args:
        custom: Whether the backend is given what the contract has no words for.
        now: Returns the time as RTVI writes it.
    """

    def __init__(self, *, custom: bool, now: Callable[[], str]) -> None:
        self._custom = custom
        self._now = now
        self._output = Output()
        self._asked: deque[str] = deque(maxlen=_MAX_ASKED)
        #: Call id -> the tool's name.
        self._tools: dict[str, str] = {}
        #: Item -> what was understood of it so far.
        self._turns: dict[str, str] = {}

    # What the client asks.

    def ask(self, asked: Message) -> tuple[list[Event], list[Message]]:
        """Take a message of the client; return the events it stands for, and answers to it."""
        if asked["type"] == "client-ready":
            return [], welcome(asked)
        try:
            events = self._events(asked)
        except RequestError as refusal:
            return [], [refusal.answer()]
        if (number := id_of(asked)) is not None:
            self._asked.append(number)
        return events, []

    def _events(self, asked: Message) -> list[Event]:
        if asked["type"] not in requests.CUSTOM:
            output = self._output
            return requests.events(asked, answering=output.answering, speaking=output.speaking)
        if not self._custom:
            problem = "the agent is a Realtime server, which has no messages of the application's"
            raise RequestError(problem, id_of(asked))
        number = id_of(asked)
        return [asked if number is None else {**asked, "event_id": number}]

    # What the call tells.

    def tell(self, event: Mapping[str, Any]) -> list[Message]:
        """Take an event; return the messages that tell of it."""
        kind = event.get("type")
        if event.get("label") == LABEL:
            return [unnumbered(event)]
        if not isinstance(kind, str):
            return []
        if kind == "error":
            return self.fail(event)
        if kind.partition(".")[0] not in _CONTRACT:
            return [message("server-message", unnumbered(event))]
        if (plain := _PLAIN.get(kind)) is not None:
            return [message(plain)]
        return list(self._tell(kind, event))

    def fail(self, event: Mapping[str, Any]) -> list[Message]:
        """Take an event that tells of an error."""
        about = _object(event, "error")
        number = about.get("event_id")
        if number == requests.INTERRUPTION:
            return []
        return [error(_text(about, "message"), number if number in self._asked else None)]

    def _tell(self, kind: str, event: Mapping[str, Any]) -> Iterable[Message]:
        output, response_id = self._output, _text(event, "response_id")
        if (follow := _PLAYOUT.get(kind)) is not None:
            ended = _object(event, "response")
            yield from self._failure(ended)
            yield from follow(output, response_id or _text(ended, "id"))
        match kind:
            case "response.created":
                yield from output.created(_text(_object(event, "response"), "id"))
            case "response.output_audio_transcript.delta":
                yield from output.text(response_id, _text(event, "delta"), spoken=True)
            case "response.output_audio_transcript.done":
                yield from output.text_done(response_id, _text(event, "transcript"), spoken=True)
            case "response.output_text.delta":
                yield from output.text(response_id, _text(event, "delta"), spoken=False)
            case "response.output_text.done":
                yield from output.text_done(response_id, _text(event, "text"), spoken=False)
            case "response.content_part.added":
                if _object(event, "part").get("type") == "audio":
                    yield message("bot-tts-started")
            case "response.output_item.added":
                yield from self._begun(_object(event, "item"))
            case "response.output_item.done":
                yield from self._made(_object(event, "item"))
            case "conversation.item.added":
                yield from self._added(_object(event, "item"))
            case "conversation.item.input_audio_transcription.delta":
                yield from self._understood(_text(event, "item_id"), _text(event, "delta"))
            case "conversation.item.input_audio_transcription.completed":
                self._turns.pop(_text(event, "item_id"), None)
                if transcript := _text(event, "transcript"):
                    yield self._transcription(transcript, final=True)
                    yield message("user-llm-text", {"text": transcript})

    def _failure(self, response: Mapping[str, Any]) -> Iterator[Message]:
        """Why a response that is done failed, if the contract's event says so in words."""
        details = _object(response, "status_details")
        problem = _text(_object(details, "error"), "message")
        if details.get("type") == "failed" and problem:
            yield error(problem)

    # What the user says.

    def _understood(self, item_id: str, delta: str) -> Iterator[Message]:
        if item_id not in self._turns:
            while len(self._turns) >= _MAX_TURNS:
                del self._turns[next(iter(self._turns))]
            self._turns[item_id] = ""
        if delta and len(self._turns[item_id]) < _MAX_TRANSCRIPT:
            self._turns[item_id] += delta
            yield self._transcription(self._turns[item_id], final=False)

    def _transcription(self, text: str, *, final: bool) -> Message:
        data = {"text": text, "final": final, "timestamp": self._now(), "user_id": ""}
        return message("user-transcription", data)

    # Tools: the client's are function calls, the agent's own are mcp_calls.

    def _begun(self, item: Mapping[str, Any]) -> Iterator[Message]:
        if item.get("type") in ("function_call", "mcp_call"):
            yield message("llm-function-call-started", {"function_name": _text(item, "name")})
        if item.get("type") == "mcp_call":
            yield self._at_work(_text(item, "id"), item)

    def _made(self, item: Mapping[str, Any]) -> Iterator[Message]:
        if item.get("type") == "mcp_call":
            failure = _text(_object(item, "error"), "message")
            yield self._stopped(_text(item, "id"), failure or item.get("output"))
        if item.get("type") != "function_call":
            return
        call_id = _text(item, "call_id")
        if item.get("status", "completed") == "completed":
            yield self._at_work(call_id, item)
        else:
            yield self._stopped(call_id, cancelled=True)

    def _added(self, item: Mapping[str, Any]) -> Iterator[Message]:
        if item.get("type") == "function_call_output":
            yield self._stopped(_text(item, "call_id"), _as_told(_text(item, "output")))
        elif item.get("role") == "user":
            content = item.get("content")
            parts = content if isinstance(content, list) else []
            texts = [_text(part, "text") for part in parts if isinstance(part, dict)]
            if text := " ".join(text for text in texts if text):
                yield message("user-llm-text", {"text": text})

    def _at_work(self, call_id: str, item: Mapping[str, Any]) -> Message:
        while len(self._tools) >= _MAX_TOOLS:
            del self._tools[next(iter(self._tools))]
        name = self._tools[call_id] = _text(item, "name")
        arguments = _as_told(_text(item, "arguments"))
        data = {"tool_call_id": call_id, "function_name": name}
        given = arguments if isinstance(arguments, dict) else {}
        return message("llm-function-call-in-progress", {**data, "arguments": given})

    def _stopped(self, call_id: str, result: Any = None, *, cancelled: bool = False) -> Message:
        data = {"tool_call_id": call_id, "cancelled": cancelled}
        if name := self._tools.pop(call_id, ""):
            data["function_name"] = name
        return message(
            "llm-function-call-stopped", data if result is None else {**data, "result": result}
        )


def unnumbered(event: Mapping[str, Any]) -> Message:
    """Return an event of the backend's own as it was before it got an id on its way."""
    return {name: value for name, value in event.items() if name != "event_id"}


def _as_told(text: str) -> Any:
    """Return an object that is told as JSON; what is none stays text."""
    try:
        value = from_json(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, dict) else text


def _text(event: Mapping[str, Any], name: str) -> str:
    value = event.get(name)
    return value if isinstance(value, str) else ""


def _object(event: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = event.get(name)
    return value if isinstance(value, dict) else {}
