"""Endpoints that do what they are told: openai's own client takes them for real ones."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import openai
import pytest

from firsthop.bench.endpoints import (
    Delay,
    Delays,
    Endpoints,
    Fault,
    Heard,
    Reply,
    Script,
    in_turn,
    serving,
)
from firsthop.bench.endpoints.script import Kind


@asynccontextmanager
async def client_of(
    endpoints: Endpoints, *, key: str = "sk-test"
) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=endpoints.url, api_key=key, max_retries=0) as client:
        yield client


def wav(pcm: bytes, rate: int = 24_000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(pcm)
    return file.getvalue()


async def test_openai_transcribes_here() -> None:
    heard: list[Heard] = []

    def transcript(what: Heard) -> str:
        heard.append(what)
        return "Good morning."

    async with serving(Script(transcript=transcript)) as endpoints, client_of(endpoints) as client:
        answer = await client.audio.transcriptions.create(
            file=("turn.wav", wav(b"\1\2" * 240)), model="m", language="de", prompt="firsthop"
        )
    assert answer.text == "Good morning."
    assert heard == [Heard(b"\1\2" * 240, 24_000, "de", "firsthop", "m")]


async def test_openai_reads_a_stream_of_tokens_here() -> None:
    async with serving() as endpoints, client_of(endpoints) as client:
        stream = await client.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": "two words"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
    words = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert "".join(word or "" for word in words) == endpoints.script.reply
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (2, 16)


async def test_openai_assembles_tool_calls_here() -> None:
    reply = Reply("One moment.", tools=(("now", "{}"), ("add", '{"a": 1, "b": 2}')))
    async with serving(Script(reply=reply)) as endpoints, client_of(endpoints) as client:
        async with client.chat.completions.stream(
            model="m", messages=[{"role": "user", "content": "add"}]
        ) as stream:
            streamed = await stream.get_final_completion()
        whole = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "add"}]
        )
    for completion in (streamed, whole):
        choice = completion.choices[0]
        assert choice.message.content == "One moment."
        assert choice.finish_reason == "tool_calls"
        calls = [call for call in choice.message.tool_calls or () if call.type == "function"]
        assert [(call.function.name, call.function.arguments) for call in calls] == [*reply.tools]


@pytest.mark.parametrize("kind", ["pcm", "wav"])
async def test_openai_hears_speech_here_from_its_first_sample_on(kind: str) -> None:
    async with serving() as endpoints, client_of(endpoints) as client:
        answer = await client.audio.speech.create(
            model="m",
            input="x" * 30,
            voice="alloy",
            response_format="pcm" if kind == "pcm" else "wav",
        )
    sound = answer.content[44 if kind == "wav" else 0 :]
    assert len(sound) == 2 * 24_000 * 2
    assert int.from_bytes(sound[:2], "little", signed=True) > 3_000
    assert answer.content[:4] == (b"RIFF" if kind == "wav" else sound[:4])


async def test_openai_is_told_what_is_wrong() -> None:
    async with serving(Script(api_key="sk-right")) as endpoints:
        async with client_of(endpoints) as client:
            with pytest.raises(openai.AuthenticationError):
                await client.audio.speech.create(model="m", input="x", voice="alloy")
        async with client_of(endpoints, key="sk-right") as client:
            with pytest.raises(openai.BadRequestError, match="pcm and wav"):
                await client.audio.speech.create(model="m", input="x", voice="alloy")
            assert [model.id async for model in client.models.list()] == ["scripted"]
    assert [answer.outcome for answer in endpoints.answers] == ["refused", "refused"]


async def test_answers_come_in_turn() -> None:
    script = Script(transcript=in_turn("One.", "Two."))
    async with serving(script) as endpoints, client_of(endpoints) as client:
        texts = [
            (await client.audio.transcriptions.create(file=("t.wav", wav(b"")), model="m")).text
            for _ in range(3)
        ]
    assert texts == ["One.", "Two.", "Two."]


async def drawn(seed: int) -> list[float]:
    script = Script(delays=Delays(first_token=Delay(2.0, 0.5)), seed=seed)
    async with serving(script) as endpoints, client_of(endpoints) as client:
        for _ in range(3):
            await client.chat.completions.create(model="m", messages=[], stream=True)
            await endpoints.until(lambda: endpoints.open == 0)
        async with httpx.AsyncClient(trust_env=False) as reader:
            told = (await reader.get(f"{endpoints.origin}/delays")).json()
    assert [answer["delay_ms"] for answer in told] == [a.delay_ms for a in endpoints.answers]
    for answer in endpoints.answers:
        assert answer.parts_ms[0] >= answer.delay_ms
    return [answer.delay_ms for answer in endpoints.answers]


async def test_the_same_seed_makes_the_same_delays_and_they_can_be_read_back() -> None:
    first, again, other = await drawn(1), await drawn(1), await drawn(2)
    assert first == again != other
    assert len(set(first)) == 3


async def test_what_is_open_is_counted_and_so_is_who_leaves() -> None:
    async with serving() as endpoints:
        endpoints.fail("chat", Fault("hang"), times=1)
        async with client_of(endpoints) as client:
            asking = asyncio.create_task(client.chat.completions.create(model="m", messages=[]))
            await endpoints.until(lambda: bool(endpoints.asked["chat"]))
            assert (endpoints.open, endpoints.connections, endpoints.left) == (1, 1, 0)
            asking.cancel()
            await endpoints.until(lambda: endpoints.left == 1)
            await endpoints.until(lambda: endpoints.open == endpoints.connections == 0)
            # The fault was for one request.
            await client.chat.completions.create(model="m", messages=[])
    assert [answer.outcome for answer in endpoints.answers] == ["left", "done"]


FAULTS: list[tuple[Kind, str]] = [
    ("close", "RemoteProtocolError"),
    ("reset", "ReadError"),
    ("status", "503"),
    ("html", "<!doctype html>"),
    ("answer", "anything"),
    ("stop", "RemoteProtocolError"),
    ("end", "one"),
    ("drip", "one two three"),
]


@pytest.mark.parametrize(("kind", "seen"), FAULTS)
async def test_a_fault_is_what_it_says(kind: Kind, seen: str) -> None:
    fault = Fault(kind, status=503, body=b"anything", every_ms=0)
    async with serving(Script(reply="one two three")) as endpoints:
        endpoints.fail("chat", fault)
        async with httpx.AsyncClient(trust_env=False) as client:
            url = f"{endpoints.url}/chat/completions"
            request = {"model": "m", "messages": [], "stream": True}
            try:
                answer = await client.post(url, json=request)
                text = answer.text if answer.status_code == 200 else str(answer.status_code)
            except httpx.TransportError as error:
                text = type(error).__name__
            endpoints.mend("chat")
            assert (await client.post(url, json=request)).text.endswith("data: [DONE]\n\n")
    said = [line[6:] for line in text.splitlines() if line.startswith("data: {")]
    deltas = [choice["delta"] for line in said for choice in json.loads(line)["choices"]]
    assert seen in ("".join(delta.get("content", "") for delta in deltas) or text)


async def test_a_port_that_is_closed_opens_again() -> None:
    async with serving() as endpoints, httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{endpoints.url}/models")).status_code == 200
        await endpoints.stop()
        with pytest.raises(httpx.ConnectError):
            await client.get(f"{endpoints.url}/models")
        await endpoints.start()
        assert (await client.get(f"{endpoints.url}/models")).status_code == 200
        assert (await client.get(f"{endpoints.url}/nothing")).status_code == 404


async def test_a_process_of_its_own_tells_where_it_is() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "firsthop.bench.endpoints", "--seed", "3", "--first-token-ms", "1"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    url = (await process.stdout.readline()).decode().strip()
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{url}/models")).status_code == 200
    process.terminate()
    assert await process.wait() == 0
