"""Rows of what the caller saw, without measuring."""

from __future__ import annotations

import numpy as np

from firsthop.bench.barge_in import run
from firsthop.bench.barge_in.run import Interruption
from firsthop.bench.tone import tone


def test_rows_have_median_and_p90_of_both_moments() -> None:
    found = [Interruption(told_ms=float(n), silent_ms=float(10 * n)) for n in range(1, 21)]
    rows = {(row.metric, row.contender): row for row in run.rows(found)}
    assert rows[run.TOLD, "median"].value == 10.5
    assert rows[run.TOLD, "p90"].value == 19
    assert rows[run.SILENT, "median"].value == 105
    assert rows[run.SILENT, "p90"].value == 190
    assert [rows[run.SILENT, name].holds for name in ("median", "p90")] == [True, False]
    assert rows[run.TOLD, "p90"].holds is None, "the target is about sound"


def test_one_interruption_makes_rows_too() -> None:
    assert {row.value for row in run.rows([Interruption(40.0, 70.0)])} == {40.0, 70.0}


def test_the_tone_has_no_pause() -> None:
    pcm = np.frombuffer(tone(16_000, 2), dtype="<i2").astype(np.float64)
    pieces = pcm.reshape(-1, 160)
    assert np.sqrt(np.mean(pieces**2, axis=1)).min() > 1000
