"""Frames of Pipecat as its bots take and give them by WebSocket: protocol buffers. No I/O.

A message is one ``pipecat.Frame``, which holds one of five kinds. Numbers of fields are Pipecat's
and never change; fields that only its own logs use (``id``, ``name``) are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from firsthop.errors import BackendError

#: Rates of sound that are believed to be rates, in Hz.
_RATES: Final = range(4_000, 192_001)
_MAX_CHANNELS: Final = 8


class FrameError(BackendError):
    """Bytes are no frame."""


@dataclass(frozen=True, slots=True)
class Audio:
    """A piece of sound."""

    pcm: bytes = field(repr=False)
    """PCM16LE, channels interleaved, whole samples of all channels."""
    sample_rate: int
    """4000 to 192000 Hz."""
    channels: int = 1
    """1 to 8."""


@dataclass(frozen=True, slots=True)
class Text:
    """Text on its way through a pipeline."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Transcription:
    """What a user said."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Message:
    """A message of an application or of RTVI."""

    data: str = field(repr=False)
    """JSON, if the other side keeps to the protocol."""


@dataclass(frozen=True, slots=True)
class Interruption:
    """What is being said stops."""


Frame = Audio | Text | Transcription | Message | Interruption


def encode(frame: Frame) -> bytes:
    """Return a frame as the bytes of one message."""
    wire = _Wire()
    match frame:
        case Audio():
            wire.audio.audio = frame.pcm
            wire.audio.sample_rate = frame.sample_rate
            wire.audio.num_channels = frame.channels
        case Text(text=text):
            wire.text.text = text
        case Transcription(text=text):
            wire.transcription.text = text
        case Message(data=data):
            wire.message.data = data
        case Interruption():
            wire.interruption.SetInParent()
    encoded: bytes = wire.SerializeToString()
    return encoded


def decode(message: bytes) -> Frame:
    """Read one message.

    Raises:
        FrameError: It is none, or sound that cannot be sound.
    """
    try:
        wire = _Wire.FromString(message)
    except DecodeError:
        raise FrameError("not a frame") from None
    match wire.WhichOneof("frame"):
        case "audio":
            return _audio(wire.audio)
        case "text":
            return Text(wire.text.text)
        case "transcription":
            return Transcription(wire.transcription.text)
        case "message":
            return Message(wire.message.data)
        case "interruption":
            return Interruption()
        case _:
            raise FrameError("a frame of no kind that is known")


def _audio(wire: Any) -> Audio:
    rate, channels = wire.sample_rate, wire.num_channels
    # What is 0 is left out on the wire, and nobody means it.
    if rate not in _RATES or not 1 <= channels <= _MAX_CHANNELS:
        raise FrameError(f"sound at {rate} Hz in {channels} channels")
    if len(wire.audio) % (2 * channels):
        raise FrameError("sound that ends within a sample")
    return Audio(wire.audio, rate, channels)


#: Kind of frame -> its number in the frame, and its fields with theirs.
_STRING: Final = FieldDescriptorProto.TYPE_STRING
_KINDS: Final[Mapping[str, tuple[int, Mapping[str, tuple[int, int]]]]] = {
    "text": (1, {"text": (3, _STRING)}),
    "audio": (
        2,
        {
            "audio": (3, FieldDescriptorProto.TYPE_BYTES),
            "sample_rate": (4, FieldDescriptorProto.TYPE_UINT32),
            "num_channels": (5, FieldDescriptorProto.TYPE_UINT32),
        },
    ),
    "transcription": (3, {"text": (3, _STRING)}),
    "message": (4, {"data": (1, _STRING)}),
    "interruption": (5, {}),
}


def _wire() -> Any:
    """Make the class of messages, in a pool of its own: Pipecat itself may be in this process."""
    file = FileDescriptorProto(name="firsthop/pipecat.proto", package="pipecat", syntax="proto3")
    whole = file.message_type.add(name="Frame")
    whole.oneof_decl.add(name="frame")
    for kind, (number, fields) in _KINDS.items():
        name = kind.title()
        part = file.message_type.add(name=name)
        for field_name, (field_number, type_number) in fields.items():
            one = part.field.add(name=field_name, number=field_number)
            one.type = FieldDescriptorProto.Type.ValueType(type_number)
            one.label = FieldDescriptorProto.LABEL_OPTIONAL
        one = whole.field.add(name=kind, number=number, oneof_index=0)
        one.type = FieldDescriptorProto.TYPE_MESSAGE
        one.label = FieldDescriptorProto.LABEL_OPTIONAL
        one.type_name = f".pipecat.{name}"
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName("pipecat.Frame"))


_Wire: Final = _wire()
