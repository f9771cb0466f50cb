"""The flat session of the Realtime API's beta, as older clients send it and read it back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from firsthop.errors import SignalingError
from firsthop.overlay import overlaid

#: Beta's name of an audio format -> the format.
_FORMATS: Final[Mapping[str, Mapping[str, Any]]] = {
    "pcm16": {"type": "audio/pcm", "rate": 24000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}
#: Beta's field -> where it is now.
_PLACES: Final[Mapping[str, tuple[str, ...]]] = {
    "model": ("model",),
    "instructions": ("instructions",),
    "modalities": ("output_modalities",),
    "voice": ("audio", "output", "voice"),
    "speed": ("audio", "output", "speed"),
    "input_audio_format": ("audio", "input", "format"),
    "output_audio_format": ("audio", "output", "format"),
    "input_audio_transcription": ("audio", "input", "transcription"),
    "input_audio_noise_reduction": ("audio", "input", "noise_reduction"),
    "turn_detection": ("audio", "input", "turn_detection"),
    "tools": ("tools",),
    "tool_choice": ("tool_choice",),
    "tracing": ("tracing",),
    "prompt": ("prompt",),
    "include": ("include",),
    "max_response_output_tokens": ("max_output_tokens",),
    "client": ("client",),
}
#: Fields that have no place any more, and are let pass.
_GONE: Final = frozenset({"temperature"})


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return a flat session in the shape of today.

    Raises:
        SignalingError: A field or a format is none of the beta's.
    """
    session: dict[str, Any] = {"type": "realtime"}
    for name, value in flat.items():
        if name in _GONE:
            continue
        if name not in _PLACES:
            message = f"no such field; there are {', '.join(sorted(_PLACES))}"
            raise SignalingError(message, code="unknown_parameter", param=name[:100])
        for part in reversed(_PLACES[name]):
            value = {part: _today(name, value) if part == _PLACES[name][-1] else value}
        session = overlaid(session, value)
    return session


def flattened(session: Mapping[str, Any]) -> dict[str, Any]:
    """Return a whole session in the beta's shape."""
    flat = {name: session[name] for name in ("id", "object")}
    for name, (*path, last) in _PLACES.items():
        place: Any = session
        for part in path:
            place = place.get(part, {})
        if last in place:
            flat[name] = _then(name, place[last])
    return flat


def _today(name: str, value: Any) -> Any:
    if name == "modalities" and isinstance(value, list):
        # The beta's speech came with its text; today's does without saying so.
        known = all(item in ("audio", "text") for item in value)
        return ["audio"] if known and "audio" in value else value
    if not name.endswith("_audio_format"):
        return value
    if not isinstance(value, str) or value not in _FORMATS:
        message = f"expected one of {', '.join(_FORMATS)}"
        raise SignalingError(message, code="invalid_value", param=name)
    return dict(_FORMATS[value])


def _then(name: str, value: Any) -> Any:
    if name == "modalities":
        return ["audio", "text"] if "audio" in value else value
    if not name.endswith("_audio_format"):
        return value
    return next(then for then, today in _FORMATS.items() if today["type"] == value["type"])
