"""What a model is told of a conversation: the items of the Realtime API as messages of a chat."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

Item = Mapping[str, Any]
Message = dict[str, Any]

#: The most that a model is told of what was said before, in characters. The oldest goes first.
MAX_CHARACTERS: Final = 100_000
#: What stands for speech that nobody could make out.
_INAUDIBLE: Final = "(inaudible)"


def messages(items: Iterable[Item], instructions: str) -> list[Message]:
    """Return the conversation as messages, oldest first.

    What the assistant said is there as far as it was heard: that is how the items tell it. Calls of
    tools stand with their outputs; where one is missing, the model is told so.

    Args:
        items: The items, oldest first.
        instructions: What the model is told first.
    """
    known = list(items)
    outputs = {
        str(item.get("call_id")): str(item.get("output") or "")
        for item in known
        if item.get("type") == "function_call_output"
    }
    told = [group for item in known if (group := _told(item, outputs))]
    first: list[Message] = [{"role": "system", "content": instructions}] if instructions else []
    return [*first, *(message for group in _latest(told) for message in group)]


def call_of_tool(call_id: str, name: str, arguments: str, output: str) -> list[Message]:
    """Return a call of a tool and what came of it."""
    function = {"name": name, "arguments": arguments}
    call = {"id": call_id, "type": "function", "function": function}
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call_id, "content": output},
    ]


def _told(item: Item, outputs: Mapping[str, str]) -> list[Message]:
    match item.get("type"):
        case "message":
            return _message(item)
        case "function_call":
            call_id = str(item.get("call_id"))
            output = outputs.get(call_id, "(no answer)")
            name, arguments = str(item.get("name")), str(item.get("arguments"))
            return call_of_tool(call_id, name, arguments, output)
        case "mcp_call":
            result, error = item.get("output"), item.get("error")
            if result is None:
                result = error.get("message") if isinstance(error, Mapping) else "(no answer)"
            name, arguments = str(item.get("name")), str(item.get("arguments"))
            return call_of_tool(str(item.get("id")), name, arguments, str(result))
    return []


def _message(item: Item) -> list[Message]:
    role = item.get("role")
    content = item.get("content")
    parts: Sequence[Any] = content if isinstance(content, list) else []
    texts = [text for part in parts if (text := _text(part))]
    if role == "user" and not texts and parts:
        texts = [_INAUDIBLE]
    if role not in ("user", "assistant", "system") or not texts:
        return []
    return [{"role": role, "content": "\n".join(texts)}]


def _text(part: object) -> str:
    if not isinstance(part, Mapping):
        return ""
    text = part.get("text") or part.get("transcript")
    return text.strip() if isinstance(text, str) else ""


def _latest(told: list[list[Message]]) -> list[list[Message]]:
    """The latest groups that fit."""
    room = MAX_CHARACTERS
    kept: list[list[Message]] = []
    for group in reversed(told):
        room -= sum(len(str(message)) for message in group)
        if room < 0 and kept:
            break
        kept.append(group)
    return kept[::-1]
