"""What listeners keep."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from firsthop.bench.quality.recording import Recorder, load
from firsthop.bench.quality.speech import RATE


def test_what_is_kept_is_read_again_with_the_times_of_its_samples(tmp_path: Path) -> None:
    recorder = Recorder(RATE)
    recorder.take(np.array([1, 2, 3], dtype=np.int16), 10.0)
    recorder.take(np.array([4], dtype=np.int16), 11.5)
    recorder.save(tmp_path / "call.npz")
    kept = load(tmp_path / "call.npz")
    assert kept.samples.tolist() == [1, 2, 3, 4]
    assert kept.at_s.tolist() == [10, 10, 10, 11.5]
    assert [path.name for path in tmp_path.iterdir()] == ["call.npz"]


def test_sound_at_another_rate_keeps_its_times(tmp_path: Path) -> None:
    recorder = Recorder(3 * RATE)
    for second in range(3):
        recorder.take(np.full(3 * RATE, 1000, dtype=np.int16), float(second))
    recorder.save(tmp_path / "call.npz")
    kept = load(tmp_path / "call.npz")
    assert len(kept.samples) == len(kept.at_s) == 3 * RATE
    assert [kept.at_s[second * RATE + 100] for second in range(3)] == [0, 1, 2]


def test_a_call_in_which_nothing_was_heard_is_an_empty_recording(tmp_path: Path) -> None:
    Recorder(3 * RATE).save(tmp_path / "call.npz")
    kept = load(tmp_path / "call.npz")
    assert len(kept.samples) == len(kept.at_s) == 0
