"""Frames as bytes, and as Pipecat's own serializer has them."""

from __future__ import annotations

import json
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2e.pipecat_bot import PYTHON
from firsthop.backends.pipecat.frames import (
    Audio,
    Frame,
    FrameError,
    Interruption,
    Message,
    Text,
    Transcription,
    decode,
    encode,
)

FRAMES: list[Frame] = [
    Audio(b"\x01\x02\x03\x04", 16_000),
    Audio(b"\x01\x02\x03\x04", 24_000, 2),
    Text("Grüße"),
    Transcription("what was said"),
    Message('{"label": "rtvi-ai", "type": "bot-ready"}'),
    Interruption(),
]

#: Reads frames as hex and says what they are, then writes frames of its own as hex.
_PEER = """
import asyncio, json, sys
from loguru import logger
from pipecat.frames.frames import *
from pipecat.serializers.protobuf import ProtobufFrameSerializer

async def main():
    serializer = ProtobufFrameSerializer()
    read = []
    for line in json.load(sys.stdin):
        frame = await serializer.deserialize(bytes.fromhex(line))
        names = ("audio", "sample_rate", "num_channels", "text", "message")
        fields = {n: getattr(frame, n) for n in names if hasattr(frame, n)}
        if "audio" in fields:
            fields["audio"] = fields["audio"].hex()
        read.append([type(frame).__name__, fields])
    said = [
        OutputAudioRawFrame(bytes(range(8)), 24000, 1),
        TextFrame("hello"),
        TranscriptionFrame("hello", "user", "2026-01-01T00:00:00Z"),
        OutputTransportMessageUrgentFrame(message={"label": "rtvi-ai"}),
        InterruptionFrame(),
    ]
    written = [(await serializer.serialize(frame)).hex() for frame in said]
    print(json.dumps([read, written]))

logger.remove()
asyncio.run(main())
"""


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame).__name__)
def test_what_is_written_is_read_again(frame: Frame) -> None:
    assert decode(encode(frame)) == frame


def test_pipecat_reads_what_is_written_and_is_understood() -> None:
    assert PYTHON.exists(), "the packages of Pipecat are missing; `make test` installs them"
    ours = json.dumps([encode(frame).hex() for frame in FRAMES])
    done = subprocess.run(
        [str(PYTHON), "-c", _PEER], input=ours, capture_output=True, text=True, check=True
    )
    read, written = json.loads(done.stdout)
    sound = {"audio": "01020304", "num_channels": 1, "sample_rate": 16_000}
    assert read == [
        ["InputAudioRawFrame", sound],
        ["InputAudioRawFrame", {**sound, "sample_rate": 24_000, "num_channels": 2}],
        ["TextFrame", {"text": "Grüße"}],
        ["TranscriptionFrame", {"text": "what was said"}],
        ["InputTransportMessageFrame", {"message": {"label": "rtvi-ai", "type": "bot-ready"}}],
        ["InterruptionFrame", {}],
    ]
    assert [decode(bytes.fromhex(line)) for line in written] == [
        Audio(bytes(range(8)), 24_000),
        Text("hello"),
        Transcription("hello"),
        Message('{"label": "rtvi-ai"}'),
        Interruption(),
    ]


@pytest.mark.parametrize(
    "frame",
    [
        Audio(b"ab", 0),
        Audio(b"ab", 4_000_000),
        Audio(b"ab", 16_000, 0),
        Audio(bytes(200), 16_000, 100),
        Audio(b"abc", 16_000),
        Audio(b"ab", 16_000, 2),
    ],
)
def test_sound_that_cannot_be_is_refused(frame: Audio) -> None:
    with pytest.raises(FrameError):
        decode(encode(frame))


@pytest.mark.parametrize("message", [b"", b"\x00", b"\x12\x05hello", b"\x32\x00", b"hello"])
def test_what_is_no_frame_is_refused(message: bytes) -> None:
    with pytest.raises(FrameError):
        decode(message)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(message: bytes) -> None:
    try:
        decode(message)
    except FrameError:
        pass


@given(st.sampled_from(FRAMES), st.integers(0, 60), st.integers(0, 255))
def test_no_damaged_frame_raises_anything_else(frame: Frame, at: int, byte: int) -> None:
    message = bytearray(encode(frame))
    message[at % len(message)] = byte
    try:
        decode(bytes(message))
    except FrameError:
        pass
