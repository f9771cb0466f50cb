"""The items of a conversation, as the events that pass tell of them.

Whoever makes the events, an agent of ours or another Realtime server, the cache follows them: so
``conversation.item.retrieve`` has one answer, and a new backend can be told what was said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from firsthop.realtime.events import as_json

#: What is kept of a conversation. The oldest items go first.
MAX_ITEMS: Final = 1000
MAX_BYTES: Final = 2 * 1024 * 1024
#: Items in the making whose words are kept, and how many of them, in characters.
_MAX_UNFINISHED: Final = 16
_MAX_WORDS: Final = 16 * 1024
#: What adds words to an item -> the part that they are of, and its field.
_DELTAS: Final = {
    "response.output_audio_transcript.delta": ("output_audio", "transcript"),
    "response.output_text.delta": ("output_text", "text"),
}

Item = Mapping[str, Any]


class Conversation:
    """Items by id, in their order; without the sound in them."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._sizes: dict[str, int] = {}
        self._bytes = 0
        self._last: str | None = None
        #: Of items in the making: their content so far.
        self._unfinished: dict[str, dict[str, str]] = {}

    def __iter__(self) -> Iterator[Item]:
        return iter(list(self._items.values()))

    def __len__(self) -> int:
        return len(self._items)

    @property
    def last(self) -> str | None:
        """The id of the latest item; None at the start."""
        return self._last

    def item(self, item_id: str) -> Item | None:
        """An item as it is now, or None if it is not (or no longer) known."""
        return self._items.get(item_id)

    def restore(self, items: Iterable[Item]) -> None:
        """Take items of a conversation that began elsewhere, oldest first."""
        for item in items:
            self._keep(item)

    def so_far(self, *, unfinished: bool = True) -> list[Item]:
        """The items, oldest first, as another conversation can go on from them.

        Args:
            unfinished: Whether messages in the making are among them, with their words so far.
        """
        told: list[Item] = []
        for item in self:
            if item.get("status") != "in_progress":
                told.append(item)
            elif unfinished and (part := self._unfinished.get(str(item.get("id")))) is not None:
                told.append({**item, "status": "incomplete", "content": [part]})
        return told

    def observe(self, event: Mapping[str, Any]) -> None:
        """Follow a server event. What it says amiss is ignored: it came from outside."""
        match event.get("type"):
            case (
                "conversation.item.added"
                | "conversation.item.created"
                | "conversation.item.done"
                | "response.output_item.added"
                | "response.output_item.done"
            ):
                self._keep(event.get("item"))
            case "conversation.item.deleted":
                self._forget(event.get("item_id"))
            case "conversation.item.input_audio_transcription.completed":
                fields = {"transcript": event.get("transcript")}
                self.amend(event.get("item_id"), event.get("content_index", 0), fields)
            case str(kind) if kind in _DELTAS:
                self._add_words(*_DELTAS[kind], event.get("item_id"), event.get("delta"))

    def amend(self, item_id: object, content_index: object, fields: Mapping[str, object]) -> None:
        """Change a part of an item's content, if there is such a part."""
        item = self._items.get(item_id) if isinstance(item_id, str) else None
        parts = item.get("content") if item is not None else None
        if item is None or not isinstance(parts, list) or not isinstance(content_index, int):
            return
        if not 0 <= content_index < len(parts):
            return
        content = list(parts)
        content[content_index] = {**content[content_index], **fields}
        self._keep({**item, "content": content})

    def cut(self, item_id: str, transcript: str | None) -> None:
        """Take note that an item was not heard to its end.

        Args:
            item_id: Which.
            transcript: The words that were heard; None if they are not known.
        """
        item = self._items.get(item_id)
        if item is not None:
            self._keep({**item, "status": "incomplete"})
            if transcript is not None:
                self.amend(item_id, 0, {"transcript": transcript})

    def shorten(self, item_id: str, share: float) -> None:
        """Take note that only a part of an item's sound was heard, and keep as much of its words.

        Args:
            item_id: Which.
            share: How much of its sound, 0 to 1.
        """
        item = self._items.get(item_id)
        parts = item.get("content") if item is not None else None
        text = parts[0].get("transcript") if isinstance(parts, list) and parts else None
        self.cut(item_id, words(text, share) if isinstance(text, str) else None)

    def place(self, item_id: str, *, after: str | None) -> None:
        """Move an item behind another; None: to the front."""
        others = [name for name in self._items if name != item_id]
        if item_id not in self._items or (after is not None and after not in others):
            return
        item = self._items.pop(item_id)
        items = list(self._items.items())
        at = 0 if after is None else 1 + others.index(after)
        items.insert(at, (item_id, item))
        self._items = dict(items)
        self._last = next(reversed(self._items))

    def _add_words(self, part: str, field: str, item_id: object, words: object) -> None:
        if not isinstance(item_id, str) or not isinstance(words, str):
            return
        content = self._unfinished.setdefault(item_id, {"type": part, field: ""})
        content[field] = (content.get(field, "") + words)[:_MAX_WORDS]
        if len(self._unfinished) > _MAX_UNFINISHED:
            del self._unfinished[next(iter(self._unfinished))]

    def _keep(self, item: object) -> None:
        if not isinstance(item, dict) or not isinstance(item.get("id"), str):
            return
        item_id = item["id"]
        item = _silent(item)
        known = self._items.get(item_id)
        if known is not None:
            item = _with_transcripts_of(known, item)
        try:
            size = len(as_json(item))
        except (TypeError, ValueError, RecursionError):
            return
        if size > MAX_BYTES:
            return
        if known is None:
            self._last = item_id
        if item.get("status") != "in_progress":
            self._unfinished.pop(item_id, None)
        self._bytes += size - self._sizes.get(item_id, 0)
        self._items[item_id], self._sizes[item_id] = item, size
        while len(self._items) > MAX_ITEMS or self._bytes > MAX_BYTES:
            self._forget(next(iter(self._items)))

    def _forget(self, item_id: object) -> None:
        if isinstance(item_id, str) and self._items.pop(item_id, None) is not None:
            self._bytes -= self._sizes.pop(item_id)
            if self._last == item_id:
                self._last = next(reversed(self._items), None)


def words(text: str, share: float) -> str:
    """The whole words in the first part of a text.

    Args:
        text: Any.
        share: How long the part is, 0 to 1.
    """
    if share >= 1 or not text:
        return text
    end = int(len(text) * share)
    return text[:end] if text[end] == " " else text[:end].rpartition(" ")[0]


def _silent(item: Mapping[str, Any]) -> dict[str, Any]:
    """The item without its sound, which nobody asks back for and which would fill the cache."""
    content = item.get("content")
    if not isinstance(content, list):
        return dict(item)
    parts = [part for part in content if isinstance(part, dict)]
    kept = [{name: value for name, value in part.items() if name != "audio"} for part in parts]
    return {**item, "content": kept}


def _with_transcripts_of(known: Item, item: dict[str, Any]) -> dict[str, Any]:
    """Keep what was transcribed when the item is told of again without it."""
    before, after = known.get("content"), item.get("content")
    if not isinstance(before, list) or not isinstance(after, list) or len(before) != len(after):
        return item
    merged = [
        {**part, "transcript": old["transcript"]}
        if part.get("transcript") is None and old.get("transcript") is not None
        else part
        for old, part in zip(before, after, strict=True)
    ]
    return {**item, "content": merged}
