"""The API as it was before it was generally available: speaches, older Azure, older clones.

Sessions are flat, sound is ``response.audio.delta``, and what an assistant says has the content
types ``audio`` and ``text``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from firsthop.backends.realtime.dialects.base import Dialect, Event, item_of_old
from firsthop.config import Capability

#: Names of events: theirs -> the contract's.
_EVENTS: Final = {
    "response.audio.delta": "response.output_audio.delta",
    "response.audio.done": "response.output_audio.done",
    "response.audio_transcript.delta": "response.output_audio_transcript.delta",
    "response.audio_transcript.done": "response.output_audio_transcript.done",
    "response.text.delta": "response.output_text.delta",
    "response.text.done": "response.output_text.done",
}
#: Content of what an assistant says: theirs -> the contract's.
_CONTENT: Final = {"audio": "output_audio", "text": "output_text"}
_THEIR_CONTENT: Final = {ours: theirs for theirs, ours in _CONTENT.items()}
#: Fields of sessions and responses that have only moved or been renamed: the contract's -> theirs.
_FIELDS: Final = {
    "instructions": "instructions",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "max_output_tokens": "max_response_output_tokens",
}
#: Further fields of ``response.create``.
_RESPONSE_FIELDS: Final = ("conversation", "metadata")


class Beta(Dialect):
    """Flat sessions and older names."""

    speaks: ClassVar[frozenset[Capability]] = frozenset(
        {"vad", "commit", "clear", "cancel", "truncate", "delete"}
    )

    def headers(self, api_key: str | None) -> dict[str, str]:
        """Return the headers of the handshake. They hold the key: not for logs."""
        return super().headers(api_key) | {"OpenAI-Beta": "realtime=v1"}

    def session(self, session: Mapping[str, Any]) -> Event:
        """Return a session, or part of one, in the server's form."""
        flat = _renamed(session)
        audio = session.get("audio")
        if not isinstance(audio, Mapping):
            return flat
        ways = self.audio(audio)
        if "input" in ways:
            flat["input_audio_format"] = "pcm16"
            if "turn_detection" in ways["input"]:
                flat["turn_detection"] = ways["input"]["turn_detection"]
            if "transcription" in ways["input"]:
                flat["input_audio_transcription"] = ways["input"]["transcription"]
        if "output" in ways:
            flat["output_audio_format"] = "pcm16"
            if "voice" in ways["output"]:
                flat["voice"] = ways["output"]["voice"]
        return flat

    def outgoing(self, event: Mapping[str, Any]) -> list[Event]:
        """Translate an event of a client."""
        if event.get("type") == "response.create" and isinstance(event.get("response"), Mapping):
            return [{**event, "response": _response(event["response"])}]
        if event.get("type") == "conversation.item.create":
            return [{**event, "item": _item(event.get("item"), _THEIR_CONTENT)}]
        return super().outgoing(event)

    def incoming(self, event: Mapping[str, Any]) -> list[Event]:
        """Translate an event of the server, whatever its fields are."""
        kind = event.get("type")
        name = _EVENTS.get(kind, kind) if isinstance(kind, str) else kind
        translated = {**event, "type": name}
        if "item" in event:
            translated["item"] = _item(event["item"], _CONTENT)
        if isinstance(event.get("response"), Mapping):
            translated["response"] = _response_of_old(event["response"])
        if kind == "conversation.item.created":
            return item_of_old(translated)
        return [translated]


def _renamed(whole: Mapping[str, Any]) -> Event:
    found = {theirs: whole[ours] for ours, theirs in _FIELDS.items() if ours in whole}
    if "output_modalities" in whole:
        # There, who speaks writes too.
        text = whole["output_modalities"] == ["text"]
        found["modalities"] = ["text"] if text else ["text", "audio"]
    return found


def _response(response: Mapping[str, Any]) -> Event:
    """What a response is to be like."""
    found = _renamed(response)
    found |= {name: response[name] for name in _RESPONSE_FIELDS if name in response}
    output = response.get("audio")
    output = output.get("output") if isinstance(output, Mapping) else None
    if isinstance(output, Mapping) and output.get("voice"):
        found["voice"] = output["voice"]
    if isinstance(response.get("input"), list):
        found["input"] = [_item(item, _THEIR_CONTENT) for item in response["input"]]
    return found


def _response_of_old(response: Mapping[str, Any]) -> Event:
    """A response as the server tells of it."""
    told = {name: value for name, value in response.items() if name != "modalities"}
    modalities = response.get("modalities")
    if isinstance(modalities, list):
        told["output_modalities"] = ["audio"] if "audio" in modalities else ["text"]
    if isinstance(told.get("output"), list):
        told["output"] = [_item(item, _CONTENT) for item in told["output"]]
    return told


def _item(item: object, names: Mapping[str, str]) -> object:
    """An item with other names for what an assistant says."""
    if not isinstance(item, Mapping) or not isinstance(item.get("content"), list):
        return item
    return {**item, "content": [_part(part, names) for part in item["content"]]}


def _part(part: object, names: Mapping[str, str]) -> object:
    if not isinstance(part, Mapping):
        return part
    kind = part.get("type")
    return {**part, "type": names.get(kind, kind) if isinstance(kind, str) else kind}
