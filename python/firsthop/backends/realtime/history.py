"""What a new connection is told of the conversation so far: what was said, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

Item = dict[str, Any]

#: How much of it, in items and in characters; the newest.
_MAX_ITEMS: Final = 200
_MAX_CHARACTERS: Final = 128 * 1024
#: What a part becomes, by the role that it belongs to.
_WORDS: Final = {"user": "input_text", "system": "input_text", "assistant": "output_text"}
#: What of other items is told.
_FIELDS: Final = {
    "function_call": ("call_id", "name", "arguments"),
    "function_call_output": ("call_id", "output"),
}


def retold(items: Iterable[Mapping[str, Any]]) -> list[Item]:
    """Return items to create with ``conversation.item.create``, the oldest first.

    Sound becomes its transcript; what was not transcribed, and what was not finished, is left out.
    """
    told: list[Item] = []
    room = _MAX_CHARACTERS
    for item in reversed([*items]):
        again = _again(item)
        if again is None:
            continue
        room -= _size(again)
        if room < 0 or len(told) == _MAX_ITEMS:
            break
        told.append(again)
    return told[::-1]


def _again(item: Mapping[str, Any]) -> Item | None:
    kind, item_id = item.get("type"), item.get("id")
    if not isinstance(kind, str) or not isinstance(item_id, str):
        return None
    if kind == "message":
        role = item.get("role")
        content = _words(role, item.get("content")) if isinstance(role, str) else []
        return {"id": item_id, "type": kind, "role": role, "content": content} if content else None
    fields = {name: item.get(name) for name in _FIELDS.get(kind, ())}
    complete = bool(fields) and all(isinstance(value, str) for value in fields.values())
    if not complete or item.get("status") in {"in_progress", "incomplete"}:
        return None
    return {"id": item_id, "type": kind, **fields}


def _words(role: str, content: object) -> list[dict[str, str]]:
    if role not in _WORDS or not isinstance(content, list):
        return []
    parts = [part for part in content if isinstance(part, Mapping)]
    texts = [part.get("text") or part.get("transcript") for part in parts]
    return [
        {"type": _WORDS[role], "text": text} for text in texts if isinstance(text, str) and text
    ]


def _size(item: Item) -> int:
    texts = [value for value in item.values() if isinstance(value, str)]
    texts += [part["text"] for part in item.get("content", [])]
    return sum(map(len, texts))
