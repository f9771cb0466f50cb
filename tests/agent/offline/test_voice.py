"""Speech by espeak-ng, as the agent has it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from firsthop.agent.offline.voice import EspeakSynthesiser
from firsthop.agent.stages import RATE, StageError
from speech.sentence import audible_ms, length_ms

TEXT = "Good morning. What can I do for you?"


async def speech(text: str, voice: str | None = None) -> bytes:
    async with EspeakSynthesiser().speak(text, voice=voice) as pieces:
        return b"".join([piece async for piece in pieces])


async def test_speech_begins_with_its_first_sound() -> None:
    pcm = await speech(TEXT)
    assert len(pcm) % 2 == 0
    first, last = audible_ms(pcm, RATE)
    assert first < 40
    assert 1000 < last < length_ms(pcm, RATE) < 4000


async def test_a_voice_that_it_does_not_have_is_its_own() -> None:
    assert await speech(TEXT, voice="marin") == await speech(TEXT)


@pytest.mark.parametrize("text", [" ", "--help", "<speak><mark/>", "\0\n$(id)", "\U0001f600 你好"])
async def test_any_text_makes_speech_or_silence(text: str) -> None:
    assert len(await speech(text)) % 2 == 0


async def test_a_failure_is_one_of_the_stage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "espeak-ng"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StageError) as failed:
        await speech(TEXT)
    assert failed.value.code == "speech_failed"


async def test_speech_that_is_left_ends_its_process() -> None:
    before = set(_children())
    async with EspeakSynthesiser().speak(TEXT * 50) as pieces:
        assert await anext(pieces)
    assert set(_children()) <= before


def _children() -> list[str]:
    tasks = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return [pid for task in tasks for pid in task.read_text().split()]
