"""Where in a turn sound was last loud."""

from __future__ import annotations

import numpy as np

from firsthop.speech.loudness import Loudness, Samples


def sound(amplitude: int, length: int) -> Samples:
    return np.full(length, amplitude, dtype=np.int16)


def test_the_end_of_the_last_loud_piece_is_found_to_4_ms() -> None:
    window = np.concatenate((sound(5000, 200), sound(0, 312)))
    assert Loudness().heard(window) == 256


def test_loud_is_measured_by_the_loudest_of_the_turn() -> None:
    turn = Loudness()
    assert turn.heard(sound(100, 512)) == 512
    assert turn.heard(sound(10_000, 512)) == 512
    # 40 dB below.
    assert turn.heard(sound(100, 512)) == 0
    assert turn.heard(sound(1000, 512)) == 512


def test_silence_is_not_loud_whatever_came_before() -> None:
    turn = Loudness()
    assert turn.heard(sound(0, 512)) == 0
    assert turn.quiet(sound(0, 512))
    turn.heard(sound(3000, 512))
    assert turn.quiet(sound(0, 512))
    assert not turn.quiet(sound(3000, 512))


def test_less_than_a_piece_is_quiet() -> None:
    assert Loudness().quiet(sound(3000, 63))
    assert Loudness().heard(sound(3000, 0)) == 0
