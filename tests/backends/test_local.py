"""The agent that comes along, on a line that only takes notes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from doubles import Line
from firsthop.backends.local import GREETING, PREAMBLES, LocalBackend
from firsthop.call import SpeechEnded, SpeechStarted
from firsthop.errors import BackendError
from firsthop.speech import espeak

TURN = b"\x01\x02" * 16_000


@pytest.mark.parametrize("sample_rate", [16_000, 24_000])
async def test_it_greets_and_answers_each_turn_with_itself(sample_rate: int) -> None:
    call, voice = Line(sample_rate=sample_rate), espeak.default_voice()
    serving = asyncio.create_task(LocalBackend().serve(call))
    await call.until("play", 0, await voice.speak(GREETING, sample_rate), True)
    for utterance, text in enumerate((*PREAMBLES, PREAMBLES[0]), start=1):
        call.deliver(SpeechStarted(at_ms=5000), SpeechEnded(at_ms=6000, audio=TURN))
        speech = await voice.speak(text, sample_rate)
        await call.until("play", utterance, speech + TURN, True)
    call.end()
    await serving


async def test_it_does_not_answer_a_cough() -> None:
    call = Line()
    call.deliver(SpeechStarted(at_ms=5000), SpeechEnded(at_ms=5200, audio=b"cough"))
    call.deliver(SpeechStarted(at_ms=6000), SpeechEnded(at_ms=7000, audio=TURN))
    serving = asyncio.create_task(LocalBackend().serve(call))
    first = await espeak.default_voice().speak(PREAMBLES[0], 16_000)
    await call.until("play", 1, first + TURN, True)
    call.end()
    await serving


async def test_it_is_not_ready_without_its_voice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    backend = LocalBackend()
    await backend.prepare()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendError, match="espeak-ng, which is not installed"):
        await backend.prepare()
