"""A model behind an endpoint: what it is asked, and what becomes of its answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agent.endpoints.listening import listening
from firsthop.agent.endpoints import EndpointModel
from firsthop.agent.stages import Cut, Prompt, StageError, Text, Thought, ToolRequest, Usage
from firsthop.bench.endpoints import Delay, Delays, Endpoints, Fault, Reply, Script, serving
from firsthop.config import ChatSettings

ASKED = [{"role": "user", "content": "one two three"}]
TOOL = {
    "type": "function",
    "name": "add",
    "description": "Adds.",
    "parameters": {"type": "object", "properties": {"a": {"type": "number"}}},
}
NESTED = {"type": "function", "function": {key: TOOL[key] for key in TOOL if key != "type"}}


@asynccontextmanager
async def model_of(endpoints: Endpoints, **settings: Any) -> AsyncIterator[EndpointModel]:
    model = EndpointModel(ChatSettings(url=endpoints.url, model="a-model", **settings))
    try:
        yield model
    finally:
        await model.close()


async def answer(model: EndpointModel, prompt: Prompt | None = None) -> list[Thought]:
    async with model.think(prompt or Prompt(messages=ASKED)) as thoughts:
        return [thought async for thought in thoughts]


async def test_an_answer_streams_token_by_token() -> None:
    script = Script(reply="It is noon.")
    async with serving(script) as endpoints, model_of(endpoints) as model:
        assert await answer(model) == [Text("It"), Text(" is"), Text(" noon."), Usage(3, 3)]


async def test_the_first_token_does_not_wait_for_the_last() -> None:
    script = Script(reply="It is noon.", delays=Delays(next_token=Delay(60_000)))
    async with serving(script) as endpoints, model_of(endpoints) as model:
        async with model.think(Prompt(messages=ASKED)) as thoughts:
            assert await anext(thoughts) == Text("It")
        await endpoints.until(lambda: endpoints.open == 0)


async def test_tools_are_asked_for_complete() -> None:
    reply = Reply("One moment.", tools=(("add", '{"a": 1}'), ("now", "")))
    async with serving(Script(reply=reply)) as endpoints, model_of(endpoints) as model:
        assert await answer(model) == [
            Text("One"),
            Text(" moment."),
            ToolRequest("call_0", "add", '{"a": 1}'),
            ToolRequest("call_1", "now", "{}"),
            Usage(3, 4),
        ]


async def test_an_answer_that_is_too_long_is_cut() -> None:
    reply = Reply("And so", finish_reason="length")
    async with serving(Script(reply=reply)) as endpoints, model_of(endpoints) as model:
        assert Cut("max_output_tokens") in await answer(model)


async def test_what_is_asked_is_what_chat_endpoints_take() -> None:
    prompt = Prompt(
        messages=[{"role": "system", "content": "be brief \ud83d"}, *ASKED],
        tools=[TOOL, {"type": "mcp", "server_label": "x"}],
        tool_choice={"type": "function", "name": "add"},
        max_output_tokens=50,
        extra={"seed": 7},
    )
    async with serving() as endpoints, model_of(endpoints, temperature=0.5) as model:
        await answer(model, prompt)
        await answer(model)
        first, second = endpoints.asked["chat"]
    assert first == {
        "model": "a-model",
        "messages": [{"role": "system", "content": "be brief \ud83d"}, *ASKED],
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [NESTED],
        "tool_choice": {"type": "function", "function": {"name": "add"}},
        "max_tokens": 50,
        "temperature": 0.5,
        "seed": 7,
    }
    assert second == {
        "model": "a-model",
        "messages": ASKED,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
    }


@pytest.mark.parametrize("choice", ["auto", "none", "required"])
async def test_a_choice_of_tools_is_passed_on(choice: str) -> None:
    async with serving() as endpoints, model_of(endpoints) as model:
        await answer(model, Prompt(messages=ASKED, tools=[TOOL], tool_choice=choice))
        assert endpoints.asked["chat"][-1]["tool_choice"] == choice


async def test_a_server_that_does_not_know_how_to_count_is_asked_once() -> None:
    async with serving(Script(reply="Hi.")) as endpoints, model_of(endpoints) as model:
        endpoints.fail("chat", Fault("status", status=422), times=1)
        for _ in range(2):
            assert Text("Hi.") in await answer(model)
        counts = ["stream_options" in asked for asked in endpoints.asked["chat"]]
        assert counts == [True, False, False]


async def test_a_server_that_ignores_streaming_is_understood() -> None:
    body = b'{"choices": [{"message": {"content": "It is noon."}, "finish_reason": "stop"}]}'
    async with serving() as endpoints, model_of(endpoints) as model:
        endpoints.fail("chat", Fault("answer", body=body, content_type="application/json"))
        assert await answer(model) == [Text("It is noon.")]


@pytest.mark.parametrize("kind", ["stop", "stall", "end"])
async def test_nothing_that_happens_after_the_end_of_an_answer_matters(kind: str) -> None:
    # The model ended, and the end mark of the stream never comes.
    body = b'data: {"choices": [{"delta": {"content": "Hi."}, "finish_reason": "stop"}]}\n\n'

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        writer.write(b"%x\r\n%s\r\n" % (len(body), body))
        if kind == "stall":
            await reader.read()
        if kind == "end":
            writer.write(b"0\r\n\r\n")

    async with listening(serve) as place:
        model = EndpointModel(ChatSettings(url=f"http://{place}"))
        assert await answer(model) == [Text("Hi.")]
        await model.close()


async def test_a_server_that_only_shows_that_it_is_alive_is_not_waited_for() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not writer.is_closing():
            writer.write(b": still here\n\n")
            await asyncio.sleep(0.02)

    async with listening(serve) as place:
        model = EndpointModel(ChatSettings(url=f"http://{place}", timeout_seconds=0.2))
        with pytest.raises(StageError) as raised:
            await answer(model)
        assert raised.value.code == "chat_timeout"
        await model.close()


async def test_a_reader_that_takes_its_time_is_no_silence_of_the_server() -> None:
    script = Script(reply="one two three")
    async with serving(script) as endpoints, model_of(endpoints, timeout_seconds=0.5) as model:
        async with model.think(Prompt(messages=ASKED)) as thoughts:
            said = [await anext(thoughts)]
            # Longer than the server might be silent; it is not, all is there already.
            await asyncio.sleep(0.6)
            said += [thought async for thought in thoughts]
    assert said == [Text("one"), Text(" two"), Text(" three"), Usage(3, 3)]


async def test_an_answer_in_an_encoding_that_was_not_asked_for_is_refused() -> None:
    async with serving() as endpoints, model_of(endpoints) as model:
        headers = {"content-encoding": "gzip"}
        endpoints.fail("chat", Fault("answer", body=b"\x1f\x8b", headers=headers))
        with pytest.raises(StageError) as raised:
            await answer(model)
        assert raised.value.code == "chat_garbage"
        assert endpoints.headers[-1]["accept-encoding"] == "identity"
