"""Speech synthesis behind an endpoint."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from firsthop.agent.endpoints import EndpointSynthesiser
from firsthop.agent.stages import RATE, StageError
from firsthop.bench.endpoints import Endpoints, Fault, Script, serving
from firsthop.config import SpeechSettings
from speech.wavs import chunk, form, riff

TEXT = "It is a quarter past three."
#: Bytes of it: the endpoint says 15 characters in a second.
LENGTH = RATE * len(TEXT) // 15 * 2


@asynccontextmanager
async def synthesiser_of(
    endpoints: Endpoints, **settings: Any
) -> AsyncIterator[EndpointSynthesiser]:
    synthesiser = EndpointSynthesiser(
        SpeechSettings(url=endpoints.url, model="a-model", **settings)
    )
    try:
        yield synthesiser
    finally:
        await synthesiser.close()


async def sound(
    synthesiser: EndpointSynthesiser, *, text: str = TEXT, voice: str | None = None
) -> bytes:
    async with synthesiser.speak(text, voice=voice) as pieces:
        return b"".join([piece async for piece in pieces])


@pytest.mark.parametrize("format", ["pcm", "wav"])
async def test_a_sentence_becomes_sound(format: str) -> None:
    async with serving() as endpoints, synthesiser_of(endpoints, format=format) as synthesiser:
        pcm = await sound(synthesiser)
        assert len(pcm) == LENGTH
        assert np.frombuffer(pcm, "<i2")[0] > 3_000
        assert endpoints.asked["speech"][-1] == {
            "model": "a-model",
            "input": TEXT,
            "voice": "alloy",
            "response_format": format,
        }


async def test_the_first_sound_does_not_wait_for_the_last() -> None:
    script = Script(speed=0.001)
    async with serving(script) as endpoints, synthesiser_of(endpoints) as synthesiser:
        async with synthesiser.speak(TEXT) as pieces:
            assert len(await anext(pieces)) == RATE * 2 // 10
        await endpoints.until(lambda: endpoints.open == endpoints.connections == 0)


async def test_a_setting_says_the_rate_of_bare_sound() -> None:
    async with serving() as endpoints, synthesiser_of(endpoints, sample_rate=48_000) as synthesiser:
        assert abs(len(await sound(synthesiser)) - LENGTH / 2) < 100


async def test_a_session_s_voice_is_asked_for() -> None:
    async with serving() as endpoints, synthesiser_of(endpoints, voice="own") as synthesiser:
        await sound(synthesiser, voice="other")
        assert [asked["voice"] for asked in endpoints.asked["speech"]] == ["other"]


@pytest.mark.parametrize("status", [400, 404, 422])
async def test_a_voice_that_the_server_does_not_know_gives_way_to_its_own(status: int) -> None:
    async with serving() as endpoints, synthesiser_of(endpoints, voice="own") as synthesiser:
        endpoints.fail("speech", Fault("status", status=status), times=1)
        for _ in range(2):
            assert len(await sound(synthesiser, voice="other")) == LENGTH
        assert [asked["voice"] for asked in endpoints.asked["speech"]] == ["other", "own", "own"]


async def test_a_refusal_of_its_own_voice_is_an_error() -> None:
    async with serving() as endpoints, synthesiser_of(endpoints) as synthesiser:
        endpoints.fail("speech", Fault("status", status=400))
        for voice in (None, "other"):
            with pytest.raises(StageError, match=r"check agent\.speech\.url"):
                await sound(synthesiser, voice=voice)
        assert len(endpoints.asked["speech"]) == 3


WAV = riff(chunk(b"fmt ", form(rate=16_000, channels=2)), chunk(b"data", bytes(64_000)))


async def test_wav_in_the_place_of_pcm_is_read_as_what_it_is() -> None:
    async with serving() as endpoints, synthesiser_of(endpoints) as synthesiser:
        endpoints.fail("speech", Fault("answer", body=WAV, content_type="audio/wav"))
        assert abs(len(await sound(synthesiser)) - RATE * 2) < 100


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault("answer", body=b"ID3\4", content_type=""), r"try agent\.speech\.format wav"),
        (Fault("answer", body=b"x", content_type="audio/mpeg"), r"try agent\.speech\.format wav"),
        (Fault("answer", body=b"{}", content_type="application/json"), "text and no sound"),
        (Fault("html"), "text and no sound"),
        (Fault("answer", body=b"", content_type="audio/pcm"), "without a sound"),
    ],
)
async def test_what_is_no_speech_is_garbage(fault: Fault, message: str) -> None:
    async with serving() as endpoints, synthesiser_of(endpoints) as synthesiser:
        endpoints.fail("speech", fault)
        with pytest.raises(StageError, match=message) as raised:
            await sound(synthesiser)
        assert raised.value.code == "speech_garbage"


async def test_of_nothing_that_can_be_said_there_is_no_sound() -> None:
    async with serving() as endpoints, synthesiser_of(endpoints) as synthesiser:
        endpoints.fail("speech", Fault("answer", body=b"", content_type="audio/pcm"))
        assert await sound(synthesiser, text="...") == b""


async def test_random_bytes_in_the_place_of_wav_are_garbage() -> None:
    async with serving() as endpoints, synthesiser_of(endpoints, format="wav") as synthesiser:
        endpoints.fail("speech", Fault("garbage"))
        with pytest.raises(StageError) as raised:
            await sound(synthesiser)
        assert raised.value.code == "speech_garbage"
