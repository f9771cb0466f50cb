"""Sound at another rate, as soon as it comes."""

from __future__ import annotations

import numpy as np
import pytest

from firsthop.speech.resampler import Resampler, Samples

TARGET = 16_000


def tone(hertz: float, rate: int) -> Samples:
    time = np.arange(rate) / rate
    return (8000 * np.sin(2 * np.pi * hertz * time)).astype(np.int16)


@pytest.mark.parametrize("rate", [8000, 12_000, 24_000, 48_000])
def test_each_frame_makes_its_share_at_once(rate: int) -> None:
    resampler, frame = Resampler(rate, TARGET), np.zeros(rate // 50, dtype=np.int16)
    assert {len(resampler.feed(frame)) for _ in range(50)} == {TARGET // 50}


@pytest.mark.parametrize("rate", [8000, 12_000, 24_000, 48_000])
def test_a_tone_stays_the_tone_and_comes_half_a_millisecond_later(rate: int) -> None:
    made = Resampler(rate, TARGET).feed(tone(440, rate))
    late_s = 8 / min(rate, TARGET)
    time = np.arange(len(made)) / TARGET - late_s
    wanted = 8000 * np.sin(2 * np.pi * 440 * time)
    assert np.abs(made - wanted)[100:].max() < 10


@pytest.mark.parametrize("rate", [24_000, 48_000])
def test_what_the_lower_rate_cannot_hold_is_left_out(rate: int) -> None:
    made = Resampler(rate, TARGET).feed(tone(11_000, rate))
    assert np.abs(made[100:]).max() < 100


@pytest.mark.parametrize("rate", [8000, 12_000, 24_000, 48_000])
def test_pieces_of_any_length_make_the_same(rate: int) -> None:
    sound = tone(300, rate)
    whole = Resampler(rate, TARGET).feed(sound)
    chance, resampler, pieces, at = np.random.default_rng(1), Resampler(rate, TARGET), [], 0
    while at < len(sound):
        length = int(chance.integers(0, 700))
        pieces.append(resampler.feed(sound[at : at + length]))
        at += length
    assert np.array_equal(np.concatenate(pieces), whole)
