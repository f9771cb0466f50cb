"""Sound inside events. The vectors of G.711 are of ITU-T G.711, tables 1a and 2a."""

from __future__ import annotations

import base64

import numpy as np
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st

from firsthop.errors import EventError
from firsthop.realtime import sound as module
from firsthop.realtime.sound import MAX_APPEND, RATES, Decoder, Encoder

G711 = ("audio/pcmu", "audio/pcma")
#: Character signal -> PCM, at 16 bits: the ends, the middle, and the ends of segments.
VECTORS = {
    "audio/pcmu": {
        0x80: 32124,
        0x8F: 16764,
        0x90: 15996,
        0x9F: 8316,
        0xEF: 132,
        0xF0: 120,
        0xFE: 8,
        0xFF: 0,
        0x7F: 0,
        0x7E: -8,
        0x70: -120,
        0x6F: -132,
        0x10: -15996,
        0x00: -32124,
    },
    "audio/pcma": {
        0xAA: 32256,
        0xA5: 16896,
        0xBA: 16128,
        0xB5: 8448,
        0xC5: 264,
        0xDA: 248,
        0xD5: 8,
        0xD4: 24,
        0x55: -8,
        0x54: -24,
        0x5A: -248,
        0x3A: -16128,
        0x2A: -32256,
    },
}


def decode(kind: str, raw: bytes) -> list[int]:
    """What a call hears of G.711."""
    pcm = Decoder(kind, 8000).decode(base64.b64encode(raw).decode())
    return [int(sample) for sample in np.frombuffer(pcm, "<i2")]


def encode(kind: str, samples: list[int]) -> bytes:
    """What a client gets of PCM at 8 kHz."""
    pcm = np.array(samples, dtype="<i2").tobytes()
    return b"".join(base64.b64decode(text) for text in Encoder(8000, kind).encode(pcm, last=True))


@pytest.mark.parametrize("kind", G711)
def test_g711_is_decoded_as_its_tables_say(kind: str) -> None:
    vectors = VECTORS[kind]
    assert decode(kind, bytes(vectors)) == list(vectors.values())
    assert len(decode(kind, bytes(range(256)))) == 256


@pytest.mark.parametrize("kind", G711)
def test_every_level_of_g711_is_encoded_as_itself(kind: str) -> None:
    levels = decode(kind, bytes(range(256)))
    again = encode(kind, levels)
    assert decode(kind, again) == levels
    # Only the two zeros of the mu-law are one.
    different = [n for n in range(256) if again[n] != n]
    assert different == ([0x7F] if kind == "audio/pcmu" else [])


def test_silence_is_the_positive_zero() -> None:
    assert encode("audio/pcmu", [0, 0]) == b"\xff\xff"
    assert encode("audio/pcma", [0, 0]) == b"\xd5\xd5"


@pytest.mark.parametrize("kind", G711)
@given(st.lists(st.integers(-32768, 32767), min_size=1))
def test_g711_is_at_most_half_a_step_off(kind: str, samples: list[int]) -> None:
    levels = np.unique(decode(kind, bytes(range(256))))
    for sample, got in zip(samples, decode(kind, encode(kind, samples)), strict=True):
        nearest = int(np.abs(levels - sample).min())
        assert abs(got - sample) == nearest


@pytest.mark.parametrize("rate", [8000, 16_000, 24_000, 48_000])
@pytest.mark.parametrize("kind", list(RATES))
def test_an_encoder_loses_nothing_at_any_rate(kind: str, rate: int) -> None:
    time = np.arange(rate * 13 // 10) / rate
    sound = (10_000 * np.sin(2 * np.pi * 300 * time)).astype(np.int16)
    encoder, texts = Encoder(rate, kind), []
    for at in range(0, len(sound), 777):
        texts += encoder.encode(sound[at : at + 777].tobytes(), last=False)
    texts += encoder.encode(b"", last=True)
    raw = b"".join(base64.b64decode(text) for text in texts)
    width = 2 if kind == "audio/pcm" else 1
    assert abs(len(raw) // width - len(sound) * RATES[kind] / rate) <= 1
    assert max(map(len, texts)) <= 64 * 1024


def test_an_encoder_cuts_what_is_long() -> None:
    texts = Encoder(24_000, "audio/pcm").encode(bytes(24_000 * 2 * 10), last=True)
    assert [len(base64.b64decode(text)) for text in texts] == [24_000] * 20
    assert Encoder(24_000, "audio/pcm").encode(b"", last=True) == []
    assert Encoder(16_000, "audio/pcm").encode(b"", last=True) == []


@given(st.binary(max_size=50), st.lists(st.integers(0, 50), max_size=5))
def test_an_event_may_end_within_a_sample(sound: bytes, cuts: list[int]) -> None:
    decoder, heard, at = Decoder("audio/pcm", 24_000), b"", 0
    for cut in [*sorted(cuts), len(sound)]:
        heard += decoder.decode(base64.b64encode(sound[at:cut]).decode())
        at = max(at, cut)
    assert heard == sound[: len(sound) // 2 * 2]


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_what_is_held_back_comes_when_the_sound_is_over(rate: int) -> None:
    decoder = Decoder("audio/pcm", rate)
    sound = (np.arange(24_000) % 1000).astype("<i2")
    expected = soxr.resample(sound, 24_000, rate, quality="LQ")
    for _ in range(2):
        heard = decoder.decode(base64.b64encode(sound.tobytes()).decode())
        assert len(heard) // 2 < rate
        heard += decoder.flush()
        got = np.frombuffer(heard, "<i2")
        assert len(got) == rate
        assert np.abs(got - expected.astype(np.int32)).max() <= 2


def test_half_a_sample_at_the_end_is_nothing() -> None:
    decoder = Decoder("audio/pcm", 24_000)
    assert decoder.decode("AQ==") == b""
    assert decoder.flush() == b""
    assert decoder.decode("AQI=") == b"\x01\x02"


def test_a_format_keeps_its_decoder_until_it_changes() -> None:
    decoder = Decoder("audio/pcm", 16_000)
    assert decoder.for_format("audio/pcm") is decoder
    assert decoder.for_format("audio/pcmu") is not decoder


NO_BASE64 = ("?", "AAA", "A", "AAAA\n", "AA=A", "\N{SNOWMAN}", "====", "-_-_")


@pytest.mark.parametrize("audio", NO_BASE64)
def test_what_is_no_base64_is_refused(audio: str) -> None:
    with pytest.raises(EventError) as error:
        Decoder("audio/pcm", 24_000).decode(audio)
    assert (error.value.code, error.value.param) == ("invalid_audio", "audio")


def test_too_much_at_once_is_refused() -> None:
    with pytest.raises(EventError) as error:
        Decoder("audio/pcm", 24_000).decode("A" * (MAX_APPEND + 4))
    assert error.value.code == "audio_too_long"


def test_a_decoder_without_sound_makes_no_resampler(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, int]] = []
    monkeypatch.setattr(module, "_resampler", lambda *rates: made.append(rates))
    decoder = Decoder("audio/pcm", 48_000)
    assert decoder.decode("") + decoder.flush() == b""
    assert made == []
    decoder.decode(base64.b64encode(b"\1\0").decode())
    assert made == [(24_000, 48_000)]
