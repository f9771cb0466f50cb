"""Speech to text by real processes, of what espeak-ng says."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from firsthop.agent.offline.hearing import PocketsphinxTranscriber
from firsthop.agent.stages import RATE, StageError
from firsthop.speech.espeak import Voice
from speech.sentence import silence

pytestmark = pytest.mark.asyncio(loop_scope="module")
FRAME = RATE * 2 // 50


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ears() -> AsyncIterator[PocketsphinxTranscriber]:
    """One process, for one turn at a time."""
    transcriber = PocketsphinxTranscriber(workers=1)
    await transcriber.prepare()
    yield transcriber
    await transcriber.close()


async def said(text: str) -> bytes:
    return silence(300, RATE) + await Voice().speak(text, RATE) + silence(500, RATE)


async def heard(ears: PocketsphinxTranscriber, sound: bytes) -> str:
    """What a turn is heard as that is fed as it is spoken."""
    hearing = ears.listen()
    for begin in range(0, len(sound), FRAME):
        hearing.feed(sound[begin : begin + FRAME])
    try:
        return await hearing.finish(sound)
    finally:
        hearing.abandon()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def processes(ears: PocketsphinxTranscriber) -> list[int]:
    return [one._process.pid for one in ears._all]


@pytest.mark.parametrize(
    "text", ["what time is it", "set a timer for five minutes", "what's three plus four"]
)
async def test_commands_are_understood_word_by_word(
    ears: PocketsphinxTranscriber, text: str
) -> None:
    assert await heard(ears, await said(text)) == text


async def test_what_was_heard_before_does_not_matter(ears: PocketsphinxTranscriber) -> None:
    sound = await said("good morning")
    assert [await heard(ears, sound) for _ in range(3)] == ["good morning"] * 3


async def test_a_turn_that_was_not_fed_is_heard_as_a_whole(ears: PocketsphinxTranscriber) -> None:
    assert await ears.listen(language="en-GB").finish(await said("good morning")) == "good morning"


async def test_other_speech_is_no_command(ears: PocketsphinxTranscriber) -> None:
    text = await heard(ears, await said("children were playing football in the park after school"))
    assert {"children", "playing", "football"} <= set(text.split())


@pytest.mark.parametrize("loudness", [0, 3, 1000])
async def test_nothing_is_said_in_silence_and_noise(
    ears: PocketsphinxTranscriber, loudness: int
) -> None:
    noise = np.random.default_rng(1).normal(0, loudness, RATE).astype("<i2").tobytes()
    assert await heard(ears, noise) == ""


@pytest.mark.parametrize("sound", [b"", b"\0\0", b"\0\0\1"])
async def test_a_turn_may_hold_next_to_nothing(ears: PocketsphinxTranscriber, sound: bytes) -> None:
    assert await heard(ears, sound) == ""


async def test_an_abandoned_turn_leaves_its_process_to_the_next(
    ears: PocketsphinxTranscriber,
) -> None:
    before = processes(ears)
    abandoned = ears.listen()
    abandoned.feed(await said("cancel the timer"))
    abandoned.abandon()
    abandoned.abandon()
    assert await heard(ears, await said("are you a robot")) == "are you a robot"
    assert processes(ears) == before


async def test_a_turn_that_is_cancelled_at_its_end_takes_its_process_along(
    ears: PocketsphinxTranscriber,
) -> None:
    (before,) = processes(ears)
    hearing = ears.listen()
    finishing = asyncio.create_task(hearing.finish(await said("cancel the timer") * 3))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    finishing.cancel()
    await asyncio.wait([finishing])
    assert finishing.cancelled()
    assert await heard(ears, await said("good morning")) == "good morning"
    assert before not in processes(ears)


async def test_turns_wait_for_a_process_and_too_many_are_told(
    ears: PocketsphinxTranscriber,
) -> None:
    first, *waiting = [ears.listen() for _ in range(17)]
    with pytest.raises(StageError, match="too many") as refused:
        await ears.listen().finish(silence(100, RATE))
    assert refused.value.code == "transcription_busy"
    for hearing in waiting[1:]:
        hearing.abandon()
    sound = await said("good morning")
    waiting[0].feed(sound)
    first.abandon()
    assert await waiting[0].finish(sound) == "good morning"


async def test_a_process_that_dies_fails_its_turn_and_is_replaced(
    ears: PocketsphinxTranscriber,
) -> None:
    hearing = ears.listen()
    hearing.feed(silence(100, RATE))
    waiting = ears.listen()
    (pid,) = processes(ears)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(StageError) as failed:
        await hearing.finish(silence(100, RATE))
    assert failed.value.code == "transcription_failed"
    assert await waiting.finish(await said("good morning")) == "good morning"
    assert pid not in processes(ears)


async def test_only_english_is_heard(ears: PocketsphinxTranscriber) -> None:
    hearing = ears.listen(language="de")
    hearing.feed(silence(100, RATE))
    with pytest.raises(StageError, match="only English") as refused:
        await hearing.finish(silence(100, RATE))
    assert refused.value.code == "transcription_language"


async def test_a_hundred_turns_leave_nothing_open(ears: PocketsphinxTranscriber) -> None:
    await heard(ears, silence(100, RATE))
    before, files = processes(ears), open_files()
    for number in range(100):
        hearing = ears.listen()
        hearing.feed(silence(100, RATE))
        if number % 2:
            assert await hearing.finish(b"") == ""
        hearing.abandon()
    assert open_files() == files
    assert processes(ears) == before


async def test_closing_ends_the_processes() -> None:
    transcriber = PocketsphinxTranscriber(workers=1)
    await transcriber.prepare()
    (pid,) = processes(transcriber)
    await transcriber.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
