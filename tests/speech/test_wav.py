"""WAV files, as they come in a stream."""

from __future__ import annotations

import io
import wave

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop.speech.wav import Format, WavError, WavReader, header
from speech.wavs import chunk, extensible, form, riff

SOUND = bytes(range(240))


def read(body: bytes, *, step: int = 1) -> tuple[Format | None, bytes]:
    reader = WavReader()
    sound = b"".join(reader.feed(body[at : at + step]) for at in range(0, len(body), step))
    return reader.format, sound


def test_the_header_of_a_turn_is_one_that_others_read() -> None:
    with wave.open(io.BytesIO(header(24_000, len(SOUND)) + SOUND)) as file:
        assert file.getparams()[:4] == (1, 2, 24_000, len(SOUND) // 2)
        assert file.readframes(1_000) == SOUND
    assert read(header(24_000, len(SOUND)) + SOUND) == (Format(24_000), SOUND)


@pytest.mark.parametrize("step", [1, 3, 1000])
@pytest.mark.parametrize("size", [None, 0, 0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF])
def test_sound_of_unknown_length_goes_on_to_the_end(size: int | None, step: int) -> None:
    body = riff(chunk(b"fmt ", form()), chunk(b"data", SOUND, size))
    assert read(body, step=step) == (Format(24_000), SOUND)


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_other_chunks_are_no_sound(step: int) -> None:
    body = riff(
        chunk(b"JUNK", b"odd"),
        chunk(b"fmt ", form() + b"\0\0"),
        chunk(b"LIST", b"INFOISFT\x06\0\0\0Lavf58"),
        chunk(b"data", SOUND),
        chunk(b"LIST", b"more"),
    )
    assert read(body, step=step) == (Format(24_000), SOUND)


@pytest.mark.parametrize(
    ("chunk_of_format", "format"),
    [
        (form(rate=8_000, channels=2), Format(8_000, 2)),
        (form(bits=24), Format(24_000, 1, 24)),
        (form(bits=32), Format(24_000, 1, 32)),
        (form(3, bits=32), Format(24_000, 1, 32, True)),
        (extensible(1, rate=48_000), Format(48_000)),
        (extensible(3, bits=32), Format(24_000, 1, 32, True)),
    ],
)
def test_sound_says_what_it_is(chunk_of_format: bytes, format: Format) -> None:
    assert read(riff(chunk(b"fmt ", chunk_of_format), chunk(b"data", SOUND))) == (format, SOUND)


@pytest.mark.parametrize(
    "body",
    [
        b"RIFX" + bytes(20),
        b"<html><body>Not found</body></html>",
        riff(chunk(b"data", SOUND)),
        riff(chunk(b"fmt ", form()[:14]), chunk(b"data", SOUND)),
        riff(chunk(b"fmt ", form(bits=8))),
        riff(chunk(b"fmt ", form(bits=12))),
        riff(chunk(b"fmt ", form(3, bits=64))),
        riff(chunk(b"fmt ", form(7))),
        riff(chunk(b"fmt ", extensible(7))),
        riff(chunk(b"fmt ", extensible(1, bytes(14)))),
        riff(chunk(b"fmt ", form(channels=0))),
        riff(chunk(b"fmt ", form(channels=9))),
        riff(chunk(b"fmt ", form(rate=4_000))),
        riff(chunk(b"fmt ", form(rate=1_000_000))),
        riff(chunk(b"LIST", b"", 0xFFFFFFFE)),
        riff(*[chunk(b"LIST", bytes(30_000))] * 3),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_cannot_be_played_is_refused(body: bytes) -> None:
    with pytest.raises(WavError):
        read(body, step=100)


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=50),
            st.sampled_from([riff(), chunk(b"fmt ", form()), b"data", b"LIST", bytes(4)]),
        )
    )
)
def test_garbage_is_sound_or_an_error(parts: list[bytes]) -> None:
    reader = WavReader()
    sound = 0
    try:
        for part in parts:
            sound += len(reader.feed(part))
    except WavError:
        return
    assert sound <= sum(map(len, parts))
    assert not sound or reader.format is not None
