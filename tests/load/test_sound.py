"""What callers say, and the marks in it."""

from __future__ import annotations

import itertools
import wave
from pathlib import Path

import numpy as np
import pytest

from firsthop._native import OpusPacket, decode, encode
from firsthop.load import sound as sounds
from firsthop.load.errors import UsageError
from firsthop.load.sound import GRID_MS, MARK_HZ, RATE, Samples, Sound
from load.oggs import ogg

TONE_MS = 60


def strength(pcm: Samples, rate: int) -> float:
    """How much of a sound is the mark's tone, 0 to 1."""
    whole = pcm.astype(np.float64)
    power = np.sum(whole**2)
    wave_ = np.exp(-2j * np.pi * MARK_HZ * np.arange(len(whole)) / rate)
    return float(2 * abs(np.sum(whole * wave_)) ** 2 / len(whole) / power) if power else 0.0


def write(path: Path, pcm: Samples, rate: int, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(np.repeat(pcm, channels).astype("<i2").tobytes())
    return path


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 48_000])
@pytest.mark.parametrize("seconds", [0.05, 1.0, 7.3, 20.0])
def test_marks_are_tones_between_silences_that_begin_with_a_packet(
    rate: int, seconds: float
) -> None:
    pcm, marks = sounds.marked(sounds.syllables(seconds, rate), rate)
    assert marks
    assert len(pcm) % (rate * GRID_MS // 1000) == 0
    for mark in marks:
        assert mark % (rate * GRID_MS // 1000) == 0
        tone = pcm[mark : mark + rate * TONE_MS // 1000]
        assert strength(tone, rate) > 0.99
        # -6 dBFS.
        assert np.abs(tone).max() == pytest.approx(0.5 * 32767, rel=0.03)
        assert not pcm[mark - rate // 5 : mark].any()
        assert not pcm[mark + len(tone) : mark + len(tone) + rate // 10].any()


def test_marks_are_far_enough_from_each_other_to_tell_their_echoes_apart() -> None:
    rate = 16_000
    _, marks = sounds.marked(sounds.syllables(60.0, rate), rate)
    distances = [after - mark for mark, after in itertools.pairwise(marks)]
    assert min(distances) >= 1.2 * rate
    assert max(distances) <= 4 * rate


def test_marks_take_nothing_of_the_sound_but_the_edges() -> None:
    rate = 8_000
    pcm = sounds.syllables(9.0, rate)
    with_marks, marks = sounds.marked(pcm, rate)
    size, begins = (rate * ms // 1000 for ms in (sounds.MARK_MS, sounds.MARK_BEGINS_MS))
    without = with_marks
    for mark in reversed(marks):
        without = np.delete(without, slice(mark - begins, mark - begins + size))
    assert len(without) - len(pcm) < rate * GRID_MS // 1000
    changed = np.flatnonzero(without[: len(pcm)] != pcm)
    assert len(changed) < (2 * len(marks) + 2) * rate // 200


def test_cuts_are_made_where_it_is_quiet() -> None:
    rate = 8_000
    loud = (8_000 * np.sin(np.arange(6 * rate))).astype(np.int16)
    loud[int(2.35 * rate) : int(2.45 * rate)] = 0
    assert sounds.pauses(loud, rate, rate // 10)[0] == int(2.4 * rate)


def test_syllables_are_the_same_for_a_seed() -> None:
    assert np.array_equal(sounds.syllables(2.0, 8_000), sounds.syllables(2.0, 8_000))
    assert not np.array_equal(sounds.syllables(2.0, 8_000), sounds.syllables(2.0, 8_000, seed=2))


@pytest.mark.parametrize("packet_ms", [10, 20, 40, 60])
def test_the_packets_that_are_named_are_those_in_which_marks_begin(packet_ms: int) -> None:
    check_marks(sounds.of(sounds.syllables(6.0, RATE), RATE, packet_ms=packet_ms))


def check_marks(sound: Sound) -> None:
    """Check that what the packets named hold begins with the tone, but for the codec's delay."""
    assert sound.marks
    lengths = [OpusPacket(packet).duration_ms for packet in sound.packets]
    heard = np.frombuffer(decode(sound.packets, rate=RATE), "<i2")
    for mark in sound.marks:
        begin = int(sum(lengths[:mark]) * RATE / 1000)
        delay = 10 * RATE // 1000
        assert strength(heard[begin + delay : begin + TONE_MS * RATE // 1000], RATE) > 0.9
        before = heard[begin - 100 * RATE // 1000 : begin].astype(np.float64)
        assert np.sqrt(np.mean(before**2)) < 300


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_wav_of_any_rate_and_channels_is_said(tmp_path: Path, rate: int, channels: int) -> None:
    path = write(tmp_path / "said.wav", sounds.syllables(3.0, rate), rate, channels)
    sound = sounds.read(path)
    assert sound.packet_ms == 20
    assert sound.seconds == pytest.approx(3.0 + 0.48 * len(sound.marks), abs=0.2)
    check_marks(sound)


@pytest.mark.parametrize("packet_ms", [10, 20, 40, 60])
def test_packets_of_ogg_are_said_as_they_are_with_marks_between(
    tmp_path: Path, packet_ms: int
) -> None:
    packets = encode(
        sounds.syllables(6.0, RATE).tobytes(),
        rate=RATE,
        bitrate=24_000,
        complexity=0,
        packet_ms=packet_ms,
    )
    path = tmp_path / "said.opus"
    path.write_bytes(ogg(packets))
    sound = sounds.read(path)
    assert sound.packet_ms == packet_ms
    added = sounds.MARK_MS // packet_ms
    without = list(sound.packets)
    for mark in reversed(sound.marks):
        first = mark - sounds.MARK_BEGINS_MS // packet_ms
        del without[first : first + added]
    assert without == packets
    assert len(sound.marks) > 1
    check_marks(sound)


def test_packets_of_different_lengths_are_said_with_one_mark_at_the_end(tmp_path: Path) -> None:
    pcm = sounds.syllables(4.0, RATE).tobytes()
    packets = [
        packet
        for packet_ms in (20, 60)
        for packet in encode(pcm, rate=RATE, bitrate=24_000, complexity=0, packet_ms=packet_ms)
    ]
    path = tmp_path / "said.ogg"
    path.write_bytes(ogg(packets))
    sound = sounds.read(path)
    assert list(sound.packets[: len(packets)]) == packets
    assert len(sound.marks) == 1
    assert sound.seconds == pytest.approx(8.48, abs=0.05)
    check_marks(sound)


def silence(packet_ms: int = 20) -> list[bytes]:
    return encode(bytes(48_000), rate=RATE, bitrate=24_000, complexity=0, packet_ms=packet_ms)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"ID3\x04 and so on", "neither WAV nor Ogg Opus"),
        (b"", "neither WAV nor Ogg Opus"),
        (b"RIFF\0\0\0\0AVI ", "no WAV"),
        (b"RIFF\0\0\0\0WAVE", "silent"),
        (b"OggS and so on", "without Opus"),
        (ogg([]), "no sound in it"),
        (ogg([b"\x03"]), "not Opus"),
        # Code 0 of 2.5 ms CELT.
        (ogg([b"\xe0\0\0"]), "less than 10 ms"),
    ],
)
def test_a_file_without_sound_is_refused_with_the_reason(
    tmp_path: Path, data: bytes, problem: str
) -> None:
    path = tmp_path / "said"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=problem) as refused:
        sounds.read(path)
    assert refused.value.what == "--sound"
    assert "\n" not in refused.value.problem


def test_silence_is_no_sound(tmp_path: Path) -> None:
    path = write(tmp_path / "silent.wav", np.zeros(8_000, np.int16), 8_000)
    opus = tmp_path / "silent.opus"
    opus.write_bytes(ogg(silence()))
    for silent in (path, opus):
        with pytest.raises(UsageError, match="silent"):
            sounds.read(silent)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing\.wav cannot be read: No such file"):
        sounds.read(tmp_path / "nothing.wav")
