"""What a bot says in one turn, on its way to the call."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from firsthop.backends.pipecat.frames import Audio
from firsthop.backends.pipecat.speech import BotSpeech

RATE = 16_000


def tone(seconds: float, rate: int = RATE, channels: int = 1) -> Audio:
    """A sine of 400 Hz, in all channels."""
    time = np.arange(int(seconds * rate)) / rate
    mono = (8000 * np.sin(2 * np.pi * 400 * time)).astype("<i2")
    return Audio(np.repeat(mono, channels).tobytes(), rate, channels)


async def all_of(speech: BotSpeech) -> tuple[bytes, list[str]]:
    """Return its sound and its words."""
    pieces = [piece async for piece in speech]
    sound = b"".join(piece for piece in pieces if isinstance(piece, bytes))
    return sound, [piece for piece in pieces if isinstance(piece, str)]


async def test_sound_of_the_calls_rate_goes_through_as_it_is() -> None:
    speech = BotSpeech(RATE)
    await speech.add(tone(0.5))
    speech.end()
    assert await all_of(speech) == (tone(0.5).pcm, [])
    assert speech.over


@pytest.mark.parametrize(("rate", "channels"), [(24_000, 1), (16_000, 2), (44_100, 2), (8_000, 1)])
async def test_other_sound_is_made_mono_at_the_calls_rate(rate: int, channels: int) -> None:
    speech = BotSpeech(RATE)
    whole = tone(1, rate, channels)
    step = len(whole.pcm) // 25 // (2 * channels) * (2 * channels)
    for at in range(0, len(whole.pcm), step):
        await speech.add(Audio(whole.pcm[at : at + step], rate, channels))
    speech.end()
    pcm, _ = await all_of(speech)
    samples = np.frombuffer(pcm, dtype="<i2")
    assert len(samples) == pytest.approx(RATE, abs=2)
    assert np.argmax(np.abs(np.fft.rfft(samples))) == 400
    assert np.max(np.abs(samples)) == pytest.approx(8000, rel=0.05)


async def test_the_kind_of_sound_may_change() -> None:
    speech = BotSpeech(RATE)
    await speech.add(tone(1, 24_000))
    await speech.add(tone(1, 48_000, 2))
    await speech.add(tone(1))
    speech.end()
    pcm, _ = await all_of(speech)
    assert len(pcm) // 2 == pytest.approx(3 * RATE, abs=10)


async def test_the_first_piece_is_there_at_once() -> None:
    speech = BotSpeech(RATE)
    await speech.add(tone(0.04))
    assert await anext(aiter(speech)) == tone(0.04).pcm


async def test_it_is_over_when_no_more_comes() -> None:
    speech = BotSpeech(RATE)
    await speech.add(tone(0.04))
    assert (await all_of(speech))[0] == tone(0.04).pcm


async def test_a_bot_that_said_that_it_speaks_may_pause_until_it_says_that_it_stopped() -> None:
    speech = BotSpeech(RATE, speaking=True)
    await speech.add(tone(0.04))
    pieces = aiter(speech)
    await anext(pieces)
    following = asyncio.ensure_future(anext(pieces))
    # Longer than a bot may be silent that tells nothing.
    await asyncio.wait({following}, timeout=0.7)
    assert not following.done()
    speech.expect(more=False)
    with pytest.raises(StopAsyncIteration):
        await following


async def test_words_stand_apart_and_where_they_came() -> None:
    speech = BotSpeech(RATE)
    speech.add_words("Hello.")
    await speech.add(tone(0.04))
    speech.add_words("How are you?")
    speech.add_words(" Well?")
    await speech.add(tone(0.04))
    speech.end()
    sound = tone(0.04).pcm
    assert [piece async for piece in speech] == ["Hello.", sound, " How are you?", " Well?", sound]


async def test_there_is_no_room_for_endless_words() -> None:
    speech = BotSpeech(RATE)
    for _ in range(6000):
        speech.add_words("and")
    speech.end()
    assert len((await all_of(speech))[1]) == 5000


async def test_a_bot_that_is_far_ahead_has_to_wait() -> None:
    speech = BotSpeech(RATE, paced=False)
    await speech.add(tone(29))
    adding = asyncio.ensure_future(speech.add(tone(2)))
    await asyncio.sleep(0)
    assert not adding.done()
    await anext(aiter(speech))
    await adding


async def test_a_bot_does_not_wait_for_nobody() -> None:
    speech = BotSpeech(RATE)
    adding = asyncio.ensure_future(speech.add(tone(31)))
    await asyncio.sleep(0)
    assert not adding.done()
    speech.abandon()
    await adding


async def test_sound_is_handed_on_only_so_far_ahead_of_what_is_played() -> None:
    speech = BotSpeech(RATE)
    pieces = aiter(speech)
    for _ in range(4):
        await speech.add(tone(10))
        await anext(pieces)
    await speech.add(tone(10))
    following = asyncio.ensure_future(anext(pieces))
    await asyncio.wait({following}, timeout=0.1)
    assert not following.done()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    assert speech.over
