"""What RTVI clients ask for, as events of the Realtime contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from firsthop.realtime.events import as_json
from firsthop.rtvi.messages import Message, RequestError, id_of

Event = dict[str, Any]

#: What is between an application and its bot: the contract has no word for it.
CUSTOM: Final = frozenset(
    {"client-message", "dtmf", "ui-event", "ui-snapshot", "ui-cancel-job-group"}
)
#: What there is in RTVI and cannot be done here, and what to do instead.
_IMPOSSIBLE: Final[Mapping[str, str]] = {
    "raw-audio": "sound is heard on the audio track only",
    "raw-audio-batch": "sound is heard on the audio track only",
    "send-file": "files cannot be sent; send-text takes words",
}
#: Names the events that only make room for an answer: whether there was anything to stop is no
#: matter of the client's.
INTERRUPTION: Final = "rtvi_interruption"
#: Role -> the type of its text.
_WORDS: Final[Mapping[str, str]] = {
    "user": "input_text",
    "system": "input_text",
    "assistant": "output_text",
}


def events(message: Message, *, answering: bool, speaking: bool) -> list[Event]:
    """Return the events that a message stands for.

    Args:
        message: As it was read.
        answering: Whether a response is being made.
        speaking: Whether one is heard.

    Raises:
        RequestError: It asks for what cannot be done.
    """
    interruption: list[Event] = []
    match message["type"]:
        case "send-text":
            asked = _send_text(message)
            if len(asked) > 1:
                interruption = _interruption(answering=answering, speaking=speaking)
        case "append-to-context":
            asked = _append_to_context(message)
        case "llm-function-call-result":
            return _numbered(message, _function_call_result(message))
        case kind:
            problem = _IMPOSSIBLE.get(kind, f"there are no messages of the type {kind[:100]!r}")
            raise RequestError(problem, id_of(message))
    return interruption + _numbered(message, asked)


def _send_text(message: Message) -> list[Event]:
    content, options = _data(message).get("content"), _data(message).get("options") or {}
    if not isinstance(content, str):
        raise RequestError("expected a string 'content'", id_of(message))
    if not isinstance(options, dict):
        raise RequestError("expected an object 'options'", id_of(message))
    asked = [_item("user", content)]
    if options.get("run_immediately", True):
        silent = options.get("audio_response", True) is False
        asked.append(_answer({"output_modalities": ["text"]} if silent else None))
    return asked


def _append_to_context(message: Message) -> list[Event]:
    data = _data(message)
    content, role = data.get("content"), data.get("role")
    if not isinstance(content, str) or not isinstance(role, str) or role not in _WORDS:
        problem = f"expected a string 'content', and as 'role' one of {', '.join(_WORDS)}"
        raise RequestError(problem, id_of(message))
    return [_item(role, content)] + ([_answer()] if data.get("run_immediately") else [])


def _function_call_result(message: Message) -> list[Event]:
    data = _data(message)
    call_id, result = data.get("tool_call_id"), data.get("result")
    if not isinstance(call_id, str):
        raise RequestError("expected a string 'tool_call_id'", id_of(message))
    output = result if isinstance(result, str) else as_json({"result": result})
    if isinstance(result, dict):
        output = as_json(result)
    item = {"type": "function_call_output", "call_id": call_id, "output": output}
    return [{"type": "conversation.item.create", "item": item}, _answer()]


def _data(message: Message) -> dict[str, Any]:
    return message.get("data") or {}


def _item(role: str, text: str) -> Event:
    content = [{"type": _WORDS[role], "text": text}]
    item = {"type": "message", "role": role, "content": content}
    return {"type": "conversation.item.create", "item": item}


def _answer(response: Mapping[str, Any] | None = None) -> Event:
    return {"type": "response.create"} | ({} if response is None else {"response": response})


def _interruption(*, answering: bool, speaking: bool) -> list[Event]:
    """Stop what is being made and what is heard, so that there is room for another answer."""
    kinds = ["response.cancel"] if answering else []
    kinds += ["output_audio_buffer.clear"] if answering or speaking else []
    return [{"type": kind, "event_id": INTERRUPTION} for kind in kinds]


def _numbered(message: Message, asked: list[Event]) -> list[Event]:
    """Let errors about the events name the message."""
    number = id_of(message)
    return asked if number is None else [{**event, "event_id": number} for event in asked]
