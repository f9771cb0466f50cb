"""The voice that comes along."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from firsthop.errors import BackendError
from firsthop.speech import espeak
from firsthop.speech.espeak import Voice
from speech.sentence import audible_ms, length_ms


@pytest.fixture
def no_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let no program be found but those that the test puts into the folder."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def install(folder: Path, script: str) -> None:
    program = folder / "espeak-ng"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


async def test_speech_is_as_long_at_every_rate_and_can_be_heard() -> None:
    voice = Voice()
    lengths = []
    for sample_rate in (8000, 16_000, 24_000, 48_000):
        speech = await voice.speak("Hello there.", sample_rate)
        assert len(speech) % 2 == 0
        first, last = audible_ms(speech, sample_rate)
        assert last - first > 300
        lengths.append(length_ms(speech, sample_rate))
    assert max(lengths) - min(lengths) <= 1


async def test_what_was_said_once_is_kept() -> None:
    voice = Voice()
    assert await voice.speak("Hello.", 16_000) is await voice.speak("Hello.", 16_000)


async def test_what_is_kept_is_bounded(no_programs: Path) -> None:
    install(no_programs, "exit 0")
    voice = Voice()
    for number in range(300):
        voice._made[str(number), 16_000] = b""
        await voice.speak(str(number), 16_000)
    await voice.speak("One more.", 16_000)
    assert len(voice._made) <= 256


async def test_a_faster_voice_takes_less_time() -> None:
    text = "The quick brown fox jumps over the lazy dog."
    slow = await Voice(words_per_minute=120).speak(text, 16_000)
    fast = await Voice(words_per_minute=240).speak(text, 16_000)
    assert len(fast) < len(slow)


@pytest.mark.parametrize(
    "text",
    ["", " ", "...", "--help", "-f /etc/passwd", "<speak>", "日本 héllo \U0001f600", "\n" * 9],
)
async def test_any_text_makes_speech_or_silence(text: str) -> None:
    assert len(await Voice().speak(text, 16_000)) % 2 == 0


async def test_many_speak_at_the_same_time() -> None:
    voice = Voice()
    texts = [f"Number {number}." for number in range(8)]
    spoken = await asyncio.gather(*(voice.speak(text, 16_000) for text in texts))
    assert len(set(spoken)) == len(texts)


async def test_a_missing_program_is_named_with_the_way_to_get_it(no_programs: Path) -> None:
    with pytest.raises(BackendError, match="apt-get install espeak-ng"):
        espeak.check()
    with pytest.raises(BackendError, match=r"agent\.speech\.url"):
        await Voice().speak("Hello.", 16_000)


async def test_what_the_program_complains_about_is_passed_on(no_programs: Path) -> None:
    install(no_programs, "echo 'no voice en-us' >&2; exit 1")
    with pytest.raises(BackendError, match="espeak-ng: no voice en-us"):
        await Voice().speak("Hello.", 16_000)


async def test_a_program_that_nobody_waits_for_is_ended(no_programs: Path) -> None:
    fifo = no_programs / "pid"
    os.mkfifo(fifo)
    install(no_programs, f"echo $$ > {fifo}; exec /bin/sleep 60")
    speaking = asyncio.create_task(Voice().speak("Hello.", 16_000))
    process = int(await asyncio.to_thread(fifo.read_text))
    speaking.cancel()
    await asyncio.wait([speaking])
    assert speaking.cancelled()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
