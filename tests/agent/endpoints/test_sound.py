"""The body of a speech answer becomes PCM16LE, mono, at 24 kHz."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop.agent.endpoints.garbage import GarbageError
from firsthop.agent.endpoints.sound import MAX_SECONDS, Sound
from firsthop.agent.stages import RATE
from firsthop.speech.wav import header
from speech.wavs import chunk, extensible, form, riff

MP3 = bytes.fromhex("fffb9064")


def tone(rate: int, *, hertz: float = 440, seconds: float = 1.0) -> npt.NDArray[np.float64]:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)


def pcm16(samples: npt.NDArray[np.float64]) -> bytes:
    return (samples * 32767).astype("<i2").tobytes()


def played(body: bytes, *, asked: str = "pcm", rate: int = RATE, step: int = 1001) -> bytes:
    sound = Sound(asked, rate)
    pieces = [sound.feed(body[at : at + step]) for at in range(0, len(body), step)]
    return b"".join([*pieces, sound.finish()])


def same_sound(pcm: bytes, expected: npt.NDArray[np.float64]) -> bool:
    """Whether sound is the expected one, but for its edges, where resamplers ring."""
    samples = np.frombuffer(pcm, "<i2") / 32768
    edge = RATE // 20
    return abs(len(samples) - len(expected)) < 30 and bool(
        np.allclose(samples[edge : RATE - edge], expected[edge : RATE - edge], atol=0.01)
    )


@pytest.mark.parametrize("step", [1, 2, 333, 10_000_000])
def test_pcm_at_24_khz_is_passed_on_as_it_is(step: int) -> None:
    body = pcm16(tone(RATE, seconds=0.2))
    assert played(body, step=step) == body


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("step", [999, 10_000_000])
def test_pcm_at_other_rates_is_resampled(rate: int, step: int) -> None:
    assert same_sound(played(pcm16(tone(rate)), rate=rate, step=step), tone(RATE))


def pcm24(samples: npt.NDArray[np.float64]) -> bytes:
    wide = (samples * (2**31 - 1)).astype("<i4").view(np.uint8).reshape(-1, 4)
    return wide[:, 1:].tobytes()


def both(samples: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Twice as loud on one side, and nothing on the other."""
    return np.stack([2 * samples, 0 * samples], axis=1)


@pytest.mark.parametrize(
    ("chunk_of_format", "data"),
    [
        (form(), pcm16(tone(RATE))),
        (form(rate=16_000), pcm16(tone(16_000))),
        (form(channels=2), pcm16(both(tone(RATE)))),
        (form(bits=24), pcm24(tone(RATE))),
        (form(bits=32), (tone(RATE) * 2**31).astype("<i4").tobytes()),
        (form(3, bits=32), tone(RATE).astype("<f4").tobytes()),
        (extensible(1, channels=2, rate=48_000), pcm16(both(tone(48_000)))),
    ],
    ids=lambda value: repr(value)[:30],
)
@pytest.mark.parametrize("asked", ["pcm", "wav"])
def test_wav_says_itself_what_it_is(chunk_of_format: bytes, data: bytes, asked: str) -> None:
    body = riff(chunk(b"fmt ", chunk_of_format), chunk(b"data", data, 0xFFFFFFFF))
    assert same_sound(played(body, asked=asked), tone(RATE))


def test_sound_comes_in_pieces_of_20_ms_or_more() -> None:
    sound = Sound("pcm", RATE)
    sizes = [len(sound.feed(b"\1\1\1")) for _ in range(1000)]
    assert set(sizes) == {0, 960}
    assert len(sound.finish()) == 3000 - sum(sizes)


def test_floats_that_are_no_numbers_are_silence_and_loud_ones_are_clipped() -> None:
    samples = np.array([np.nan, np.inf, -np.inf, 5.0, -5.0, 0.5], "<f4").tobytes()
    body = riff(chunk(b"fmt ", form(3, bits=32)), chunk(b"data", samples))
    found = np.frombuffer(played(body), "<i2")
    assert found.tolist() == [0, 0, 0, 32767, -32768, 16384]


@pytest.mark.parametrize(
    ("asked", "content_type", "body", "advice"),
    [
        ("pcm", "", MP3 * 500, "agent.speech.format wav"),
        ("pcm", "", b"ID3\x04" + bytes(2000), "agent.speech.format wav"),
        ("pcm", "audio/mpeg", b"", "agent.speech.format wav"),
        ("wav", "audio/mpeg", b"", "agent.speech.format pcm"),
        ("wav", "", pcm16(tone(RATE)), "agent.speech.format pcm"),
        ("pcm", "text/html", b"", "agent.speech.url"),
        ("pcm", "application/json", b"", "agent.speech.url"),
    ],
)
def test_another_format_is_an_error_that_says_the_way_out(
    asked: str, content_type: str, body: bytes, advice: str
) -> None:
    with pytest.raises(GarbageError) as raised:
        Sound(asked, RATE, content_type).feed(body)
    assert advice in str(raised.value)


@pytest.mark.parametrize("first", [-1, -2, -257, 0, 511, -32768, 32767])
def test_loud_pcm_is_not_taken_for_another_format(first: int) -> None:
    body = np.full(1000, first, "<i2").tobytes()
    assert played(body) == body


def test_sound_without_an_end_is_refused() -> None:
    sound = Sound("pcm", RATE)
    minute = bytes(RATE * 2 * 60)
    for _ in range(MAX_SECONDS // 60):
        assert len(sound.feed(minute)) == len(minute)
    with pytest.raises(GarbageError, match="5 minutes"):
        sound.feed(minute)


def test_a_wav_header_alone_is_no_sound() -> None:
    assert played(header(RATE, 0)) == b""
    assert played(b"RI") == b""


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=2000),
            st.sampled_from(
                [riff(), chunk(b"fmt ", form(3, 2, bits=32)), chunk(b"fmt ", form()), b"data"]
            ),
        ),
        max_size=20,
    ),
    st.sampled_from([8_000, 24_000, 48_000]),
    st.sampled_from(["pcm", "wav"]),
)
def test_garbage_is_whole_samples_or_an_error(parts: list[bytes], rate: int, asked: str) -> None:
    sound = Sound(asked, rate)
    try:
        pieces = [sound.feed(part) for part in parts] + [sound.finish()]
    except GarbageError:
        return
    assert all(len(piece) % 2 == 0 for piece in pieces)
