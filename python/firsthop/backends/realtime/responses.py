"""Responses as clients have to see them: announced, complete, in order, and ended, always.

Servers leave out what their own clients do not need, and some break off. A `Response` notes what
the client has been told, puts in front of an event what should have come before it, and can tell
the whole rest by itself: nobody waits for a ``response.done`` in vain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Event = dict[str, Any]

#: Items of a response and parts of an item that are followed.
_MAX_ITEMS: Final = 128
#: Of a transcript, what is kept to tell it again at an early end, in characters.
_MAX_TEXT: Final = 64 * 1024

_CONTENT: Final = frozenset(
    {
        "response.content_part.added",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.delta",
        "response.output_audio_transcript.done",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
    }
)
_CALL: Final = frozenset(
    {"response.function_call_arguments.delta", "response.function_call_arguments.done"}
)
_OF_ITEMS: Final = _CONTENT | _CALL | {"response.output_item.done"}


@dataclass(slots=True)
class _Part:
    """A part of an item's content, as far as the client knows it."""

    kind: str
    text: str = ""
    sound_done: bool = False
    text_done: bool = False
    done: bool = False

    def as_object(self) -> Event:
        name = "transcript" if self.kind == "audio" else "text"
        return {"type": self.kind, name: self.text}

    def as_content(self) -> Event:
        return {**self.as_object(), "type": f"output_{self.kind}"}


@dataclass(slots=True)
class _Item:
    """An item of a response, as far as the client knows it."""

    value: Event
    output_index: int
    added: bool = False
    """Whether it was told of as an item of the conversation."""
    done: bool = False
    """The same, as a finished item of the response."""
    settled: bool = False
    """The same, as a finished item of the conversation."""
    parts: dict[int, _Part] = field(default_factory=dict)
    arguments: str = ""

    @property
    def finished(self) -> bool:
        """Whether it is done, or each of its parts is."""
        whole = all(part.done or part.sound_done or part.text_done for part in self.parts.values())
        return self.done or (bool(self.parts) and whole)


class Response:
    """One response, from ``response.created`` to ``response.done``.

    Args:
        value: The response object.
    """

    def __init__(self, response_id: str, value: Mapping[str, Any]) -> None:
        self.id = response_id
        self.value: Mapping[str, Any] = dict(value)
        """The response object as it began."""
        self.cancel_by: float | None = None
        """When it was asked to end: until when that is waited for, in seconds of the clock."""
        self.cancel_reason = "client_cancelled"
        """Why it was."""
        self.muted = False
        """Whether no more of its sound is played."""
        self.end_by: float | None = None
        """Once all that it has is finished: until when its end is waited for."""
        self._items: dict[str, _Item] = {}
        self._over = False

    @property
    def finished(self) -> bool:
        """Whether all of its items are finished, and there are some."""
        return bool(self._items) and all(item.finished for item in self._items.values())

    def owns(self, item_id: object) -> bool:
        """Whether an item is one of this response."""
        return isinstance(item_id, str) and item_id in self._items

    def tell(self, event: Event, previous: str | None) -> list[Event]:
        """Return the event after what it takes before it; nothing if it was told already.

        Args:
            event: Of this response, or about one of its items.
            previous: The item before, in the conversation.
        """
        kind = event.get("type")
        if kind == "response.done":
            return self._end(event)
        if kind in ("conversation.item.added", "conversation.item.done"):
            return self._settle(event)
        item_id = _item_id(event)
        if item_id is None:
            return [event]
        if kind == "response.output_item.added":
            return self._add(item_id, event)
        if kind not in _OF_ITEMS:
            return [event]
        before = self._announce(item_id, event, previous)
        item = self._items.get(item_id)
        if item is None:
            return []
        if kind == "response.output_item.done":
            return before + self._finish(item, event)
        if kind in _CONTENT:
            return before + self._content(item, event)
        if kind in _CALL:
            item.arguments = _grown(item.arguments, event, "arguments")
        return [*before, event]

    def close(self, status: str, details: Mapping[str, Any] | None = None) -> list[Event]:
        """Return all that is missing to its end.

        Args:
            status: completed, cancelled, failed or incomplete.
            details: The ``status_details``.
        """
        if self._over:
            return []
        events = self._rest("completed" if status == "completed" else "incomplete")
        output = [item.value for item in self._items.values()]
        end = {"status": status, "status_details": details, "output": output}
        return [*events, {"type": "response.done", "response": {**self.value, **end}}]

    def _add(self, item_id: str, event: Event) -> list[Event]:
        if item_id in self._items or len(self._items) >= _MAX_ITEMS:
            return []
        told = event.get("item")
        value = {**(told if isinstance(told, Mapping) else {}), "id": item_id}
        self._items[item_id] = _Item(value, _index(event))
        return [event]

    def _announce(self, item_id: str, event: Event, previous: str | None) -> list[Event]:
        """Tell of an item that is spoken of without having been announced."""
        events: list[Event] = []
        if item_id not in self._items:
            value = _item(item_id, event)
            fields = {"response_id": self.id, "output_index": _index(event), "item": value}
            events += self._add(item_id, {"type": "response.output_item.added", **fields})
        item = self._items.get(item_id)
        if item is not None and not item.added:
            item.added = True
            fields = {"item": item.value, "previous_item_id": previous}
            events.append({"type": "conversation.item.added", **fields})
        return events

    def _settle(self, event: Event) -> list[Event]:
        item = self._items[event["item"]["id"]]
        if event["type"] == "conversation.item.added":
            told, item.added = item.added, True
            return [] if told else [event]
        told, item.settled = item.settled, True
        return [] if told else [event]

    def _content(self, item: _Item, event: Event) -> list[Event]:
        kind = event["type"]
        index = event.get("content_index", 0)
        if type(index) is not int or (index not in item.parts and len(item.parts) >= _MAX_ITEMS):
            return []
        events: list[Event] = []
        if index not in item.parts:
            part = item.parts[index] = _Part(_kind_of_part(event))
            if kind != "response.content_part.added":
                place = self._place(item, index)
                added = {"type": "response.content_part.added", **place, "part": part.as_object()}
                events.append(added)
        elif kind == "response.content_part.added":
            return []
        part = item.parts[index]
        match kind:
            case "response.output_audio.done":
                part.sound_done = True
            case "response.output_audio_transcript.delta" | "response.output_text.delta":
                part.text = _grown(part.text, event, "")
            case "response.output_audio_transcript.done" | "response.output_text.done":
                part.text = _grown(part.text, event, "transcript", "text")
                part.text_done = True
            case "response.content_part.done":
                events += self._finish_part(item, index, part)[:-1]
                part.done = True
        return [*events, event]

    def _finish_part(self, item: _Item, index: int, part: _Part) -> list[Event]:
        """What is missing to the end of a part, its end included."""
        if part.done:
            return []
        part.done = True
        place = self._place(item, index)
        events: list[Event] = []
        if part.kind == "audio":
            if not part.sound_done:
                events.append({"type": "response.output_audio.done", **place})
            if not part.text_done:
                kind = "response.output_audio_transcript.done"
                events.append({"type": kind, **place, "transcript": part.text})
        elif not part.text_done:
            events.append({"type": "response.output_text.done", **place, "text": part.text})
        part.sound_done = part.text_done = True
        done = {"type": "response.content_part.done", **place, "part": part.as_object()}
        return [*events, done]

    def _finish(self, item: _Item, event: Event) -> list[Event]:
        if item.done:
            return []
        events = [e for n, part in item.parts.items() for e in self._finish_part(item, n, part)]
        item.done = True
        if isinstance(event.get("item"), Mapping):
            item.value = dict(event["item"])
        return [*events, event]

    def _end(self, event: Event) -> list[Event]:
        if self._over:
            return []
        response = event.get("response")
        completed = isinstance(response, Mapping) and response.get("status") == "completed"
        return [*self._rest("completed" if completed else "incomplete"), event]

    def _rest(self, status: str) -> list[Event]:
        """What is missing before ``response.done``; items that are not finished get `status`."""
        self._over = True
        events: list[Event] = []
        for item in self._items.values():
            if not item.done:
                value = self._finished(item, status)
                fields = {"response_id": self.id, "output_index": item.output_index, "item": value}
                events += self._finish(item, {"type": "response.output_item.done", **fields})
            if item.added and not item.settled:
                item.settled = True
                fields = {"item": item.value, "previous_item_id": None}
                events.append({"type": "conversation.item.done", **fields})
        return events

    def _finished(self, item: _Item, status: str) -> Event:
        value = {**item.value, "status": status}
        if value.get("type") == "function_call":
            return value | {"arguments": item.arguments}
        if item.parts:
            value["content"] = [item.parts[n].as_content() for n in sorted(item.parts)]
        return value

    def _place(self, item: _Item, content_index: int) -> Event:
        return {
            "response_id": self.id,
            "item_id": item.value.get("id"),
            "output_index": item.output_index,
            "content_index": content_index,
        }


def _item_id(event: Mapping[str, Any]) -> str | None:
    """The item that an event is about."""
    item = event.get("item")
    found = item.get("id") if isinstance(item, Mapping) else event.get("item_id")
    return found if isinstance(found, str) else None


def _index(event: Mapping[str, Any]) -> int:
    index = event.get("output_index")
    return index if type(index) is int else 0


def _item(item_id: str, event: Mapping[str, Any]) -> Event:
    """An item that was not announced, as what is said of it lets one think it is."""
    common = {"object": "realtime.item", "id": item_id, "status": "in_progress"}
    if event.get("type") in _CALL:
        call = {"call_id": event.get("call_id"), "name": event.get("name", ""), "arguments": ""}
        return common | {"type": "function_call", **call}
    if isinstance(event.get("item"), Mapping):
        return common | dict(event["item"]) | {"status": "in_progress"}
    return common | {"type": "message", "role": "assistant", "content": []}


def _kind_of_part(event: Mapping[str, Any]) -> str:
    part = event.get("part")
    kind = part.get("type") if isinstance(part, Mapping) else None
    text = kind in ("text", "output_text") or "output_text" in event["type"]
    return "text" if text else "audio"


def _grown(text: str, event: Mapping[str, Any], *whole: str) -> str:
    """A text after an event that adds to it, or has all of it in one of the fields `whole`."""
    for name in whole:
        if isinstance(event.get(name), str):
            return str(event[name])[:_MAX_TEXT]
    delta = event.get("delta")
    return (text + delta)[:_MAX_TEXT] if isinstance(delta, str) else text
