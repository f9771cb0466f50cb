"""When a caller last heard something, by made-up packets."""

from __future__ import annotations

import numpy as np
import pytest

from firsthop.bench.ear import RATE, Arrival, Samples, audible, first_sound_s, last_sound_s

LOUD: Samples = np.full(RATE // 50, 8000, dtype=np.int16)
QUIET: Samples = np.zeros(RATE // 50, dtype=np.int16)
#: Loud for its first 5 ms.
CUT: Samples = np.concatenate((LOUD[: RATE // 200], QUIET[RATE // 200 :]))


def stream(*packets: Samples, begin_s: float = 10.0) -> list[Arrival]:
    return [Arrival(begin_s + 0.02 * n, packet) for n, packet in enumerate(packets)]


def test_the_last_sound_ends_within_its_packet() -> None:
    heard = stream(LOUD, LOUD, CUT, QUIET, QUIET)
    assert last_sound_s(heard, 10.0, 11.0) == pytest.approx(10.045)


def test_only_what_is_heard_between_two_moments_counts() -> None:
    heard = stream(LOUD, LOUD, QUIET, LOUD)
    assert last_sound_s(heard, 10.0, 10.05) == pytest.approx(10.04)
    assert last_sound_s(heard, 10.041, 10.059) is None


def test_packets_that_come_at_once_are_heard_one_after_the_other() -> None:
    heard = [Arrival(10.0, LOUD), Arrival(10.0, LOUD), Arrival(10.001, LOUD)]
    assert last_sound_s(heard, 10.0, 11.0) == pytest.approx(10.06)


def test_the_first_packet_with_sound_counts_from_its_arrival() -> None:
    heard = stream(LOUD, QUIET, CUT, LOUD)
    assert first_sound_s(heard, 10.0) == pytest.approx(10.04)
    assert first_sound_s(heard, 10.06) is None


def test_what_can_be_heard_is_found_to_5_ms() -> None:
    words = np.concatenate((QUIET, QUIET, LOUD, CUT, QUIET))
    assert audible(words) == (2 * len(QUIET), 3 * len(QUIET) + RATE // 200)
    with pytest.raises(ValueError, match="nothing can be heard"):
        audible(QUIET)
