"""The Silero model, on speech and on what is none."""

from __future__ import annotations

import numpy as np
import pytest

from firsthop.speech import activity
from firsthop.speech.activity import RATE, WINDOW, Samples, VoiceActivity
from speech.sentence import spoken


def probabilities(pcm: bytes, listener: VoiceActivity) -> list[float]:
    samples: Samples = np.frombuffer(pcm, dtype="<i2").astype(np.float32) / np.float32(32768)
    windows = range(0, len(samples) - WINDOW + 1, WINDOW)
    return [listener.probability(samples[start : start + WINDOW]) for start in windows]


async def test_speech_is_likely_speech() -> None:
    heard = probabilities(await spoken(RATE), VoiceActivity())
    assert max(heard) > 0.95
    assert sum(heard) / len(heard) > 0.5


def test_silence_is_no_speech() -> None:
    assert max(probabilities(bytes(4 * RATE), VoiceActivity())) < 0.1


@pytest.mark.parametrize("loudness", [30, 1000, 10_000])
def test_noise_is_no_speech(loudness: int) -> None:
    noise = np.random.default_rng(1).normal(0, loudness, 5 * RATE).clip(-32768, 32767)
    assert max(probabilities(noise.astype("<i2").tobytes(), VoiceActivity())) < 0.5


async def test_streams_that_share_the_model_share_nothing_else() -> None:
    speech = await spoken(RATE)
    alone = probabilities(speech, VoiceActivity())
    one, other = VoiceActivity(), VoiceActivity()
    size = 2 * WINDOW
    interleaved = []
    for start in range(0, len(speech) - size + 1, size):
        interleaved += probabilities(speech[start : start + size], one)
        probabilities(bytes(size), other)
    assert interleaved == alone


def test_warming_up_loads_the_one_model() -> None:
    activity.warm_up()
    assert activity._model() is activity._model()
