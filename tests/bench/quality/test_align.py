"""What was said is found in what was heard."""

from __future__ import annotations

import numpy as np
import pytest

from bench.quality.sounds import babble, played, sent_s
from firsthop.bench.quality import align
from firsthop.bench.quality.recording import Recording
from firsthop.bench.quality.speech import RATE, Clip

SAID = babble(3)
SENT_S = sent_s(SAID)


def silence(seconds: float) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    return np.zeros(int(seconds * RATE), dtype=np.int16)


@pytest.mark.parametrize("late_s", [0.0, 0.013, 0.4])
def test_a_known_delay_is_found(late_s: float) -> None:
    found = align.places(SAID, played(SAID, late_s=late_s), SENT_S)
    assert len(found) == align.pieces(SAID)
    assert {place.heard - place.said for place in found} == {0}
    assert [place.delay_s for place in found] == pytest.approx([late_s] * len(found))


def test_sound_that_is_stretched_is_found_where_it_is_and_drifts() -> None:
    half = len(SAID) // 2
    heard = np.concatenate([SAID[:half], silence(0.1), SAID[half:]])
    found = align.places(SAID, played(heard, late_s=0.0), SENT_S)
    assert found[0].heard == found[0].said
    assert found[-1].heard == found[-1].said + RATE // 10
    assert found[-1].delay_s == pytest.approx(0.1, abs=0.001)
    assert align.drift_s(found) == pytest.approx(0.1)


def test_sound_before_the_first_word_is_no_drift() -> None:
    heard = played(np.concatenate([silence(0.5), SAID]), late_s=-0.5)
    found = align.places(SAID, heard, SENT_S)
    assert align.drift_s(found) == 0
    assert found[0].delay_s == pytest.approx(0, abs=0.001)


def test_what_was_not_heard_is_not_found() -> None:
    heard = SAID.copy()
    heard[RATE : 2 * RATE] = 0
    found = align.places(SAID, played(heard, late_s=0.0), SENT_S)
    assert 0 < len(found) < align.pieces(SAID)
    assert not [place for place in found if RATE <= place.said <= 2 * RATE - RATE * 32 // 100]


def test_other_sound_and_none_at_all_is_not_found() -> None:
    for heard in (SAID[::-1].copy(), silence(3), silence(0)):
        assert align.places(SAID, played(heard, late_s=0.0), SENT_S) == []
    assert align.drift_s([]) == 0


def test_a_pause_is_not_looked_for() -> None:
    assert align.pieces(silence(1)) == 0


def test_a_clip_is_cut_out_of_what_was_heard_with_its_margins() -> None:
    clip = Clip(RATE, 2 * RATE)
    heard = Recording(np.concatenate([silence(0.25), SAID]), np.zeros(RATE * 4))
    place = align.Place(said=clip.begin + 100, heard=clip.begin + 100 + RATE // 4, delay_s=0.0)
    cut = align.cut(heard, clip, [place], RATE // 2)
    np.testing.assert_array_equal(cut, SAID[clip.begin - RATE // 2 : clip.end + RATE // 2])
    assert len(align.cut(heard, Clip(0, RATE), [place], RATE // 2)) == 0
