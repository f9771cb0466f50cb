"""What of a call's session a server is told: what the client chose, not what firsthop made up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: Values of a session that nobody chose: the server has defaults of its own.
_UNCHOSEN: Final[Mapping[str, object]] = {
    "instructions": "",
    "tools": [],
    "tool_choice": "auto",
    "max_output_tokens": "inf",
    "speed": 1.0,
}


def whole(session: Mapping[str, Any], *, detects_turns: bool) -> dict[str, Any]:
    """Return what a new connection is told.

    Args:
        session: The call's, in the contract's shape.
        detects_turns: Whether the server decides where turns end.
    """
    chosen = _chosen(session)
    audio = {way: _chosen(value) for way, value in _ways(session)}
    detection = _at(session, "audio", "input", "turn_detection") if detects_turns else None
    audio["input"] = {**audio.get("input", {}), "turn_detection": detection}
    return {**chosen, "audio": audio}


def changed(
    changes: Mapping[str, Any], session: Mapping[str, Any], *, detects_turns: bool
) -> dict[str, Any]:
    """Return what a server is told of a change; nothing is left of what does not concern it.

    Args:
        changes: The client's ``session`` of a ``session.update``.
        session: The call's, after the change. Objects are told whole: servers merge differently.
        detects_turns: Whether the server decides where turns end.
    """
    told = {name: session.get(name) for name in changes if name != "audio"}
    audio = {
        way: {name: _at(session, "audio", way, name) for name in value}
        for way, value in _ways(changes)
    }
    if not detects_turns:
        audio.get("input", {}).pop("turn_detection", None)
    for fields in audio.values():
        # The sound between us and the server has one format.
        fields.pop("format", None)
    audio = {way: fields for way, fields in audio.items() if fields}
    return {**told, "audio": audio} if audio else told


def wants_answer(session: Mapping[str, Any]) -> bool:
    """Whether a turn is answered without being asked to."""
    detection = _at(session, "audio", "input", "turn_detection")
    return isinstance(detection, Mapping) and detection.get("create_response") is not False


def lets_interrupt(session: Mapping[str, Any]) -> bool:
    """Whether the caller's speech stops what is said."""
    detection = _at(session, "audio", "input", "turn_detection")
    return isinstance(detection, Mapping) and detection.get("interrupt_response") is not False


def is_manual(session: Mapping[str, Any]) -> bool:
    """Whether the client says itself where a turn ends."""
    return not isinstance(_at(session, "audio", "input", "turn_detection"), Mapping)


def padding_ms(session: Mapping[str, Any]) -> int:
    """How much of what was before a turn belongs to it."""
    padding = _at(session, "audio", "input", "turn_detection", "prefix_padding_ms")
    return padding if type(padding) is int else 300


def _chosen(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in fields.items()
        if value is not None and not (name in _UNCHOSEN and value == _UNCHOSEN[name])
    }


def _ways(session: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Input and output, as far as they are there."""
    audio = session.get("audio")
    ways = audio.items() if isinstance(audio, Mapping) else ()
    return [(way, value) for way, value in ways if isinstance(value, Mapping)]


def _at(value: object, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
