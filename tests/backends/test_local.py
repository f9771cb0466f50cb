"""The agent that comes along, on a line that only takes notes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from calls.conversation import until
from doubles import Line
from firsthop.backends.local import GREETING, PREAMBLES, LocalBackend
from firsthop.call import Message, SpeechEnded, SpeechStarted
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


def wrote(*texts: str) -> dict[str, object]:
    """A user's item."""
    content = [{"type": "input_text", "text": text} for text in texts]
    return {"id": "a", "type": "message", "role": "user", "content": content}


async def test_it_answers_what_was_written() -> None:
    call, voice = Line(), espeak.default_voice()
    call.remembered["b"] = {"type": "message", "role": "assistant", "content": []}
    request = Message({"type": "response.create"})
    call.deliver(request)
    serving = asyncio.create_task(LocalBackend().serve(call))
    await call.until("play", 0, await voice.speak(GREETING, 16_000), True)
    await until(lambda: call.handled)
    call.remembered["a"] = wrote("Good", "morning.")
    call.deliver(Message({"type": "conversation.item.create", "item": wrote("No.")}), request)
    speech = await voice.speak("You wrote: Good morning.", 16_000)
    await call.until("play", 1, speech, True)
    call.remembered["a"] = {"role": "user", "content": [{"type": "input_audio"}]}
    call.deliver(request, Message({"type": "weather.ask"}))
    call.end()
    await serving
    assert len(call.notes) == 2, "only what was written, and only once"


async def test_a_turn_that_nobody_heard_begin_is_as_long_as_its_sound() -> None:
    call, voice = Line(), espeak.default_voice()
    call.deliver(SpeechEnded(at_ms=60_000, audio=TURN[:100]), SpeechEnded(at_ms=61_000, audio=TURN))
    serving = asyncio.create_task(LocalBackend().serve(call))
    await call.until("play", 1, await voice.speak(PREAMBLES[0], 16_000) + TURN, True)
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
