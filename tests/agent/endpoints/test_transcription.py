"""Speech recognition behind an endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from firsthop.agent.endpoints import EndpointTranscriber
from firsthop.agent.stages import RATE, StageError
from firsthop.bench.endpoints import Endpoints, Fault, Heard, Script, serving
from firsthop.config import TranscriptionSettings

TURN = bytes(range(256)) * 100


@asynccontextmanager
async def transcriber_of(
    endpoints: Endpoints, **settings: Any
) -> AsyncIterator[EndpointTranscriber]:
    given = TranscriptionSettings(url=endpoints.url, model="a-model", **settings)
    transcriber = EndpointTranscriber(given)
    try:
        yield transcriber
    finally:
        await transcriber.close()


async def test_a_turn_is_sent_whole_and_comes_back_as_text() -> None:
    script = Script(transcript=" What time is it?\n")
    async with serving(script) as endpoints, transcriber_of(endpoints) as transcriber:
        hearing = transcriber.listen(prompt="firsthop, ICE \ud83d")
        hearing.feed(TURN[:100])
        assert await hearing.finish(TURN) == "What time is it?"
        assert endpoints.asked["transcription"][-1] == Heard(
            TURN, RATE, None, "firsthop, ICE ?", "a-model"
        )


@pytest.mark.parametrize(
    ("setting", "session", "sent"), [(None, None, None), (None, "fr", "fr"), ("de", "fr", "de")]
)
async def test_the_language_is_the_setting_s_or_the_session_s(
    setting: str | None, session: str | None, sent: str | None
) -> None:
    async with (
        serving() as endpoints,
        transcriber_of(endpoints, language=setting) as transcriber,
    ):
        await transcriber.listen(language=session).finish(TURN)
        assert endpoints.asked["transcription"][-1].language == sent


@pytest.mark.parametrize("audio", [b"", b"\0\0" * 2000])
async def test_in_less_than_a_tenth_of_a_second_nothing_is_said(audio: bytes) -> None:
    async with serving() as endpoints, transcriber_of(endpoints) as transcriber:
        assert await transcriber.listen().finish(audio) == ""
        assert not endpoints.headers


async def test_what_a_model_makes_up_for_silence_is_not_hidden() -> None:
    script = Script(transcript="Thank you.")
    async with serving(script) as endpoints, transcriber_of(endpoints) as transcriber:
        assert await transcriber.listen().finish(bytes(RATE * 2)) == "Thank you."


async def test_a_turn_that_is_abandoned_is_no_turn() -> None:
    async with serving() as endpoints, transcriber_of(endpoints) as transcriber:
        endpoints.fail("transcription", Fault("hang"), times=1)
        hearing = transcriber.listen()
        finishing = asyncio.create_task(hearing.finish(TURN))
        await endpoints.until(lambda: bool(endpoints.asked["transcription"]))
        hearing.abandon()
        assert await finishing == ""
        await endpoints.until(lambda: endpoints.open == endpoints.connections == 0)
        assert await hearing.finish(TURN) == ""
        again = transcriber.listen()
        assert await again.finish(TURN) == endpoints.script.transcript
        again.abandon()


async def test_an_error_in_an_answer_that_says_yes_is_one() -> None:
    async with serving() as endpoints, transcriber_of(endpoints) as transcriber:
        body = b'{"error": {"message": "out of memory"}}'
        endpoints.fail("transcription", Fault("answer", body=body))
        with pytest.raises(StageError) as raised:
            await transcriber.listen().finish(TURN)
        assert raised.value.code == "transcription_failed"


@pytest.mark.parametrize(
    "body", [b'{"text": 5}', b"[]", b"plain", b"[" * 100_000, b'{"text": "' + b"x" * 2_000_000]
)
async def test_what_is_no_transcript_is_garbage(body: bytes) -> None:
    async with serving() as endpoints, transcriber_of(endpoints) as transcriber:
        endpoints.fail("transcription", Fault("answer", body=body))
        with pytest.raises(StageError) as raised:
            await transcriber.listen().finish(TURN)
        assert raised.value.code == "transcription_garbage"
