"""The session of a call, as its client configures it: merged deeply, checked, always whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from firsthop.config import TurnSettings
from firsthop.errors import EventError
from firsthop.overlay import overlaid
from firsthop.realtime.events import as_json

#: The session that a client may build up, as JSON: what a peer that announces no other limit takes
#: in one message (RFC 8841 §6.1), less the event around it.
MAX_SESSION_BYTES: Final = 64 * 1024 - 256
#: Silence that ends a turn under ``semantic_vad``, by eagerness. There is no model here that
#: understands whether a sentence is complete; patience has to stand for it.
_PATIENCE_MS: Final = {"low": 1400, "medium": 800, "auto": 800, "high": 400}
#: Fields whose objects are given whole: half of an old choice would mean nothing with a new one.
_WHOLE: Final = ("tool_choice", "prompt", "tracing")
#: Where objects are that are one of several types.
_DETECTION: Final = ("audio", "input", "turn_detection")
_INPUT_FORMAT: Final = ("audio", "input", "format")
_OUTPUT_FORMAT: Final = ("audio", "output", "format")
_PCM: Final = {"type": "audio/pcm", "rate": 24000}
#: What only the server says of a session.
_OURS: Final = ("id", "object", "expires_at")
#: What may be otherwise for one response.
_OF_A_RESPONSE: Final = frozenset(
    {"instructions", "output_modalities", "tools", "tool_choice", "max_output_tokens", "audio"}
)


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


class ServerVad(_Part):
    """Turns by voice activity and silence."""

    type: Literal["server_vad"]
    threshold: float = Field(ge=0, le=1)
    prefix_padding_ms: int = Field(ge=0, le=5000)
    silence_duration_ms: int = Field(ge=50, le=10_000)
    idle_timeout_ms: int | None = Field(None, ge=500, le=600_000)
    create_response: bool = True
    interrupt_response: bool = True


class SemanticVad(_Part):
    """Turns by what was said, as far as a server can tell."""

    type: Literal["semantic_vad"]
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True


TurnDetection = ServerVad | SemanticVad


class _Pcm(_Part):
    type: Literal["audio/pcm"]
    rate: Literal[24000] | None = None


class _G711(_Part):
    type: Literal["audio/pcmu", "audio/pcma"]
    rate: Literal[8000] | None = None


_Format = Annotated[_Pcm | _G711, Field(discriminator="type")]


class _Input(_Part):
    format: _Format
    turn_detection: Annotated[TurnDetection, Field(discriminator="type")] | None = None


class _Output(_Part):
    format: _Format
    speed: float = Field(1.0, ge=0.25, le=1.5)


class _Audio(_Part):
    input: _Input
    output: _Output


class _Shape(_Part):
    """What is relied on; other fields are kept as they come."""

    type: Literal["realtime"]
    model: str = Field(max_length=256)
    instructions: str
    output_modalities: list[Literal["audio", "text"]]
    tools: list[dict[str, Any]] = Field(max_length=512)
    tool_choice: str | dict[str, Any]
    max_output_tokens: int | Literal["inf"]
    audio: _Audio


#: What pydantic calls the members of a union, in the path of a problem.
_MEMBERS: Final = frozenset(
    {
        "server_vad",
        "semantic_vad",
        "audio/pcm",
        "audio/pcmu",
        "audio/pcma",
        "str",
        "dict[str,any]",
        "int",
        "literal['inf']",
    }
)


class Session:
    """One session's configuration.

    Args:
        session_id: ``sess_...``.
        model: What clients are told until they or the backend name another.
        turns: The turn detection that holds until the client chooses its own.
        changes: What the call was placed with, laid over the defaults.

    Raises:
        EventError: `changes` are wrong; `param` tells where.
    """

    def __init__(
        self,
        session_id: str,
        model: str,
        turns: TurnSettings,
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        self._turns = turns
        self._value: Mapping[str, Any] = _defaults(session_id, model, turns)
        self._shape = _Shape.model_validate(self._value)
        if changes:
            self.update(changes)

    @property
    def value(self) -> Mapping[str, Any]:
        """The whole session as a JSON object, in the contract's shape. Replaced, never changed."""
        return self._value

    @property
    def turn_detection(self) -> TurnDetection | None:
        """How turns are found; None when the client says itself where they end."""
        return self._shape.audio.input.turn_detection

    @property
    def input_format(self) -> str:
        """Of audio in events: audio/pcm (24 kHz), audio/pcmu or audio/pcma (8 kHz)."""
        return self._shape.audio.input.format.type

    @property
    def output_format(self) -> str:
        """The same, for audio in events to the client."""
        return self._shape.audio.output.format.type

    @property
    def speaks(self) -> bool:
        """Whether answers are heard, and not only read."""
        return "audio" in self._shape.output_modalities

    def varied(self, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the session as it is for one response, which may differ in some things.

        Args:
            changes: ``response`` of a ``response.create``. What is no matter of one response, or
                null, is passed over.

        Raises:
            EventError: They do not make sense.
        """
        kept = {name: value for name, value in changes.items() if name in _OF_A_RESPONSE}
        kept = {name: value for name, value in kept.items() if value is not None}
        if not kept:
            return self._value
        varied = copy(self)
        varied.update(kept)
        return varied.value

    def update(self, changes: Mapping[str, Any]) -> None:
        """Merge changes deeply; an object changes only the fields that it names.

        Raises:
            EventError: They do not make sense; the session is as it was.
        """
        changes = {name: value for name, value in changes.items() if name not in _OURS}
        try:
            value = self._with(changes)
            fits = len(as_json(value)) <= MAX_SESSION_BYTES
        except RecursionError:
            fits = False
        except (TypeError, ValueError):
            raise EventError("invalid_value", "expected JSON", param="session") from None
        if not fits:
            message = f"at most {MAX_SESSION_BYTES} bytes of JSON, in a few levels"
            raise EventError("session_too_large", message, param="session")
        try:
            self._shape = _Shape.model_validate(value)
        except ValidationError as error:
            raise _first_problem(error) from None
        self._value = value

    def _with(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """The session as it would be."""
        wanted = _at(changes, _DETECTION)
        if isinstance(wanted, dict):
            changes = _put(changes, _DETECTION, _without_nulls(wanted))
        value = overlaid(self._value, changes)
        value |= {name: changes[name] for name in _WHOLE if name in changes}
        # What was chosen anew has the fields of its type, as far as they were not given.
        for path, defaults in (
            (_DETECTION, (_server_vad(self._turns), _semantic_vad(self._turns))),
            (_INPUT_FORMAT, (_PCM,)),
            (_OUTPUT_FORMAT, (_PCM,)),
        ):
            chosen = _at(value, path)
            for fields in defaults:
                if isinstance(chosen, dict) and chosen.get("type") == fields["type"]:
                    value = _put(value, path, {**fields, **chosen})
        return value


def patience_ms(detection: TurnDetection) -> int:
    """Silence that ends a turn."""
    if isinstance(detection, ServerVad):
        return detection.silence_duration_ms
    return _PATIENCE_MS[detection.eagerness]


def _at(value: object, path: Sequence[str]) -> object:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _put(value: Mapping[str, Any], path: Sequence[str], new: object) -> dict[str, Any]:
    """The same with `new` at a place that there is."""
    name, *rest = path
    return {**value, name: _put(value[name], rest, new) if rest else new}


def _without_nulls(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Take null for "not given", as clients mean it, where it does not mean "off"."""
    return {
        name: field
        for name, field in wanted.items()
        if field is not None or name == "idle_timeout_ms"
    }


def _first_problem(error: ValidationError) -> EventError:
    problem = error.errors()[0]
    # The names of a union's members are pydantic's, not the client's.
    path = [str(part) for part in problem["loc"] if part not in _MEMBERS]
    message = problem["msg"].partition(" or instance of ")[0]
    return EventError("invalid_value", message, param=".".join(("session", *path)))


def _semantic_vad(turns: TurnSettings) -> dict[str, Any]:
    return {
        "type": "semantic_vad",
        "eagerness": "auto",
        "create_response": True,
        "interrupt_response": turns.interrupt_response,
    }


def _server_vad(turns: TurnSettings) -> dict[str, Any]:
    return {
        "type": "server_vad",
        "threshold": turns.threshold,
        "prefix_padding_ms": turns.prefix_padding_ms,
        "silence_duration_ms": turns.silence_duration_ms,
        "idle_timeout_ms": None,
        "create_response": True,
        "interrupt_response": turns.interrupt_response,
    }


def _defaults(session_id: str, model: str, turns: TurnSettings) -> dict[str, Any]:
    return {
        "object": "realtime.session",
        "type": "realtime",
        "id": session_id,
        "model": model,
        "output_modalities": ["audio"],
        "instructions": "",
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "prompt": None,
        "include": None,
        "audio": {
            "input": {
                "format": dict(_PCM),
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": _server_vad(turns),
            },
            "output": {
                "format": dict(_PCM),
                "voice": "default",
                "speed": 1.0,
            },
        },
    }
