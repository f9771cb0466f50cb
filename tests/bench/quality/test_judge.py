"""Speech is judged: the same is best, and what is made worse is worse."""

from __future__ import annotations

import numpy as np
import pytest

from bench.quality.sounds import played
from firsthop.bench.link import Conditions
from firsthop.bench.quality import packets, speech
from firsthop.bench.quality.judge import Judgement, judge
from firsthop.bench.quality.score import LOWEST, score
from firsthop.bench.quality.speech import RATE, Programme, Samples
from firsthop.bench.quality.trace import trace

CLEAN = trace(Conditions(), 1000)


def judged(programme: Programme, heard: Samples, late_s: float = 0.0) -> Judgement:
    return judge(programme, programme.samples, played(heard, late_s=late_s), CLEAN, 0.0)


async def test_identical_speech_is_at_the_top() -> None:
    programme = await speech.programme(1)
    found = judged(programme, programme.samples, late_s=0.07)
    assert found.mos == [pytest.approx(4.64, abs=0.01)]
    assert found.delays_ms == pytest.approx([70] * len(found.delays_ms))
    assert (found.unheard, found.drift_ms) == (0, 0)


async def test_speech_with_holes_in_it_is_worse_and_without_end_at_the_bottom() -> None:
    programme = await speech.programme(1)
    holes = programme.samples.copy()
    holes.reshape(-1)[: len(holes) // 3200 * 3200].reshape(-1, 3200)[:, :320] = 0
    assert LOWEST < judged(programme, holes).mos[0] < 3
    nothing = judged(programme, np.zeros_like(programme.samples))
    assert nothing.mos == [LOWEST]
    assert nothing.delays_ms == []
    assert nothing.unheard == 1


async def test_the_codecs_own_delay_is_no_listeners() -> None:
    programme = await speech.programme(1)
    payloads = packets.encode(programme.samples)
    decoded = packets.decode(payloads)
    assert len(payloads) == len(decoded) // packets.SAMPLES
    found = judge(programme, decoded, played(decoded, late_s=0.0), CLEAN, 0.0)
    assert found.delays_ms == pytest.approx([0] * len(found.delays_ms), abs=0.01)
    assert 3.5 < found.mos[0] < 4.64


async def test_clips_are_as_long_as_the_measure_wants_them_and_different() -> None:
    programme = await speech.programme(speech.MOST_CLIPS)
    seconds = [(clip.end - clip.begin) / RATE for clip in programme.clips]
    assert all(8 <= one <= 10 for one in seconds)
    assert len(set(seconds)) == speech.MOST_CLIPS


def test_what_is_too_short_to_be_judged_is_at_the_bottom() -> None:
    said = np.ones(RATE, dtype=np.int16)
    assert score(said, said[:100]) == LOWEST
