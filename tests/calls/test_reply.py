"""Answers of an agent: announced at once, made in parts, cancelled as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from calls.conversation import (
    RATE,
    SECOND,
    Conversation,
    EventEnd,
    idle,
    settled,
    until,
)
from firsthop._native import Event
from firsthop.call import Call, Message, Reply, SpeechEnded, Usage
from firsthop.errors import BackendError
from speech.sentence import silence, spoken

TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
OTHER_TOOL = {**TOOL, "name": "clock"}
Work = Callable[[Reply], Awaitable[None]]


async def pieces(*parts: bytes | str) -> AsyncIterator[bytes | str]:
    for part in parts:
        yield part


def answering(work: Work) -> Callable[[Call], Awaitable[None]]:
    """An agent that answers whatever asks for an answer."""

    async def agent(call: Call) -> None:
        async for event in call:
            match event:
                case SpeechEnded() | Message(event={"type": "response.create"}):
                    call.reply(work, to=event)

    return agent


def asked(work: Work, **session: Any) -> Conversation:
    """A call whose client has asked for an answer."""
    talk = Conversation(answering(work))
    talk.connect()
    if session:
        talk.ask("session.update", session={"type": "realtime", **session})
    talk.ask("response.create")
    return talk


def play(talk: Conversation, utterance: int, ms: int, *, interrupted: bool = False) -> None:
    """Have the line play an utterance."""
    talk.report(Event.PlayoutStarted(1, utterance))
    talk.report(Event.PlayoutEnded(1, utterance, ms, interrupted))


async def test_an_answer_is_announced_before_any_of_it_is_made() -> None:
    go = asyncio.Event()

    async def work(reply: Reply) -> None:
        await go.wait()

    talk = asked(work)
    await until(lambda: "response.created" in talk.told())
    assert "response.done" not in talk.told()
    go.set()
    await until(lambda: "response.done" in talk.told())
    [done] = talk.all("response.done")
    assert (done["response"]["status"], done["response"]["output"]) == ("completed", [])
    await talk.end()


async def test_words_are_told_ahead_of_the_sound_that_says_them() -> None:
    async def work(reply: Reply) -> None:
        await reply.say(pieces("One. ", SECOND, "Two.", SECOND)).made()

    talk = asked(work)
    await until(lambda: "response.output_audio_transcript.done" in talk.told())
    deltas = [event["delta"] for event in talk.all("response.output_audio_transcript.delta")]
    assert deltas == ["One. ", "Two."]
    [done] = talk.all("response.output_audio_transcript.done")
    assert done["transcript"] == "One. Two."
    play(talk, 0, 2000)
    await until(lambda: "output_audio_buffer.stopped" in talk.told())
    await talk.end()


@pytest.mark.parametrize(
    ("ms", "heard"),
    [
        (0, ""),
        (500, "Alpha beta"),
        (1000, "Alpha beta gamma delta. "),
        (2100, "Alpha beta gamma delta. Epsilon zeta"),
        (3000, "Alpha beta gamma delta. Epsilon zeta eta theta."),
    ],
)
async def test_of_what_was_cut_off_the_words_are_known_sentence_by_sentence(
    ms: int, heard: str
) -> None:
    async def work(reply: Reply) -> None:
        # The second sentence is spoken half as fast.
        speech = ("Alpha beta gamma delta. ", SECOND, "Epsilon zeta eta theta.", 2 * SECOND)
        await reply.say(pieces(*speech)).made()

    talk = asked(work)
    await until(lambda: "response.output_audio_transcript.done" in talk.told())
    talk.report(Event.PlayoutStarted(1, 0))
    talk.ask("response.cancel")
    talk.report(Event.PlayoutEnded(1, 0, ms, True))
    [item] = [item for item in talk.call.items if item.get("role") == "assistant"]
    assert item["content"][0]["transcript"].strip() == heard.strip()
    [truncated] = talk.all("conversation.item.truncated")
    assert truncated["audio_end_ms"] == ms
    await talk.end()


async def test_the_parts_of_an_answer_are_items_of_one_response_in_order() -> None:
    async def work(reply: Reply) -> None:
        first = reply.say(pieces("Let me see.", SECOND))
        run = reply.use("python", "clock", '{"zone":"UTC"}')
        run.done("noon")
        broken = reply.use("python", "moon", "{}")
        broken.failed("no moon")
        second = reply.say(pieces("It is noon.", SECOND))
        reply.count(Usage(10, 3))
        reply.count(Usage(5, 2))
        await first.made()
        await second.made()

    talk = asked(work)
    await until(lambda: "response.done" in talk.told())
    [done] = talk.all("response.done")
    kinds = [item["type"] for item in done["response"]["output"]]
    assert kinds == ["message", "mcp_call", "mcp_call", "message"]
    assert done["response"]["output"][1]["output"] == "noon"
    assert done["response"]["output"][2]["error"]["message"] == "no moon"
    assert done["response"]["usage"]["total_tokens"] == 20
    added = talk.all("response.output_item.added")
    assert [event["output_index"] for event in added] == [0, 1, 2, 3]
    assert {event["response_id"] for event in added} == {done["response"]["id"]}
    assert len(talk.all("response.mcp_call.completed")) == 1
    assert len(talk.all("response.mcp_call.failed")) == 1
    order = [kind for kind in talk.told() if kind.startswith("response.output_item.")]
    assert order == ["response.output_item.added", "response.output_item.done"] * 4
    previous = [event["previous_item_id"] for event in talk.all("conversation.item.added")]
    ids = [item["id"] for item in done["response"]["output"]]
    assert previous == [None, *ids[:-1]]
    await talk.end()


async def test_an_interruption_while_the_agent_thinks_cancels_the_answer() -> None:
    left = asyncio.Event()

    async def work(reply: Reply) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    talk = asked(work)
    await until(lambda: "response.created" in talk.told())
    talk.hear(await spoken(RATE))
    await left.wait()
    await until(lambda: "response.done" in talk.told())
    response = talk.all("response.done")[0]["response"]
    assert response["status"] == "cancelled"
    assert response["status_details"]["reason"] == "turn_detected"
    talk.hear(silence(1000, RATE))
    await until(lambda: len(talk.all("response.created")) == 2)
    await talk.end()


async def test_a_cancelled_answer_says_what_was_heard_before_it_is_done() -> None:
    more = asyncio.Event()

    async def speech() -> AsyncIterator[bytes | str]:
        yield "Alpha beta gamma delta. "
        yield SECOND
        await more.wait()

    async def work(reply: Reply) -> None:
        await reply.say(speech())
        raise AssertionError("it goes on after it was cancelled")

    talk = asked(work)
    await until(lambda: ("play", 1, 0, SECOND, False) in talk.engine.notes)
    talk.report(Event.PlayoutStarted(1, 0))
    assert talk.ask("response.cancel") == []
    assert "response.done" not in talk.told(), "how much was heard is not known yet"
    talk.report(Event.PlayoutEnded(1, 0, 500, True))
    [done] = talk.all("response.done")
    assert done["response"]["status"] == "cancelled"
    [item] = done["response"]["output"]
    assert item["content"][0]["transcript"] == "Alpha", "by the pace of speech: more may follow"
    assert item["status"] == "incomplete"
    await talk.end()


async def test_the_client_runs_several_tools_at_once_between_two_responses() -> None:
    outputs: list[str] = []

    async def work(reply: Reply) -> None:
        outputs.extend(await reply.invoke([("weather", {"city": "Oslo"}), ("clock", {})]))
        await reply.say(pieces("Rain at noon.", SECOND)).made()

    talk = asked(work, tools=[TOOL, OTHER_TOOL])
    await until(lambda: "response.done" in talk.told())
    [response] = [event["response"] for event in talk.all("response.done")]
    calls = response["output"]
    assert [(call["name"], call["arguments"]) for call in calls] == [
        ("weather", '{"city":"Oslo"}'),
        ("clock", "{}"),
    ]
    for call, output in zip(reversed(calls), ["noon", "rain"], strict=True):
        answer = {
            "type": "function_call_output",
            "call_id": call["call_id"],
            "output": output,
        }
        talk.ask("conversation.item.create", item=answer)
    # The SDK asks for an answer after each output; the agent is at it already.
    talk.ask("response.create")
    talk.ask("response.create")
    await until(lambda: len(talk.all("response.done")) == 2)
    assert outputs == ["rain", "noon"]
    play(talk, 0, 1000)
    await settled()
    assert len(talk.all("response.created")) == 2, "one answer, though it was asked for twice"
    assert talk.all("error") == []
    await talk.end()


async def test_a_tool_that_the_client_does_not_have_is_the_agents_mistake() -> None:
    problems: list[str] = []

    async def work(reply: Reply) -> None:
        try:
            await reply.invoke([("weather", {}), ("moon", {})])
        except BackendError as error:
            problems.append(str(error))

    talk = asked(work, tools=[TOOL])
    await until(lambda: "response.done" in talk.told())
    assert problems == ["the client offers no tool 'moon'; it offers weather"]
    await talk.end()


async def test_an_answer_that_raises_has_failed_and_the_call_goes_on() -> None:
    async def work(reply: Reply) -> None:
        raise ValueError("a mistake")

    talk = asked(work)
    await until(lambda: "response.done" in talk.told())
    [done] = talk.all("response.done")
    assert done["response"]["status"] == "failed"
    assert done["response"]["status_details"]["error"]["code"] == "agent_failed"
    [error] = talk.all("error")
    assert error["error"]["type"] == "server_error"
    assert "mistake" not in str(error)
    talk.ask("response.create")
    await until(lambda: len(talk.all("response.done")) == 2)
    await talk.end()


async def test_answers_are_worked_at_one_after_the_other() -> None:
    begun: list[int] = []
    gates = [asyncio.Event(), asyncio.Event()]

    async def work(reply: Reply) -> None:
        number = len(begun)
        begun.append(number)
        await gates[number].wait()

    talk = asked(work)
    talk.ask("response.create")
    await until(lambda: begun)
    await settled()
    assert begun == [0]
    assert len(talk.all("response.created")) == 1
    gates[0].set()
    await until(lambda: len(begun) == 2)
    gates[1].set()
    await until(lambda: len(talk.all("response.done")) == 2)
    await talk.end()


async def test_an_answer_may_be_wanted_otherwise_than_the_session_says() -> None:
    seen: list[Reply] = []

    async def work(reply: Reply) -> None:
        seen.append(reply)
        await reply.say(pieces("Only ", SECOND, "read.")).made()

    talk = Conversation(answering(work))
    talk.connect()
    talk.ask(
        "response.create",
        response={
            "instructions": "Be brief.",
            "output_modalities": ["text"],
            "metadata": {"topic": "weather"},
            "conversation": "none",
            "input": [
                {
                    "type": "message",
                    "role": "user",
                    "content": [{"type": "input_text", "text": "Sum it up."}],
                }
            ],
        },
    )
    await until(lambda: "response.done" in talk.told())
    [reply] = seen
    assert reply.session["instructions"] == "Be brief."
    assert not reply.speaks
    assert [item["content"][0]["text"] for item in reply.items] == ["Sum it up."]
    [done] = talk.all("response.done")
    assert done["response"]["metadata"] == {"topic": "weather"}
    [item] = done["response"]["output"]
    assert item["content"] == [{"type": "output_text", "text": "Only read."}]
    assert [event["delta"] for event in talk.all("response.output_text.delta")] == [
        "Only ",
        "read.",
    ]
    assert not any(note[0] == "play" for note in talk.engine.notes), "nobody wants to hear it"
    assert "conversation.item.added" not in talk.told(), "it is no part of the conversation"
    assert talk.call.session["instructions"] == "", "it was for this answer only"
    await talk.end()


@pytest.mark.parametrize(
    ("response", "param"),
    [
        ({"output_modalities": ["smell"]}, "response.output_modalities.0"),
        ({"max_output_tokens": "many"}, "response.max_output_tokens"),
        ({"input": "text"}, "response.input"),
        ({"input": ["text"]}, "response.input"),
        ({"metadata": []}, "response.metadata"),
    ],
)
async def test_what_makes_no_sense_in_it_is_refused(response: object, param: str) -> None:
    talk = Conversation(idle)
    talk.connect()
    [error] = talk.ask("response.create", response=response, event_id="mine")
    assert error["error"]["param"] == param
    assert error["error"]["event_id"] == "mine"
    await talk.end()


async def test_who_gets_sound_in_events_gets_words_and_sound_in_their_order() -> None:
    async def work(reply: Reply) -> None:
        await reply.say(pieces("One. ", SECOND, "Two.", SECOND)).made()

    talk = Conversation(answering(work), socket=EventEnd(wants_audio=True))
    talk.connect()
    talk.ask("response.create")
    await until(lambda: "response.done" in talk.told())
    kinds = [
        kind.removeprefix("response.output_audio")
        for kind in talk.told()
        if kind.startswith("response.output_audio") and kind.endswith("delta")
    ]
    first, second = kinds.index("_transcript.delta"), kinds.index("_transcript.delta", 1)
    assert first == 0
    assert ".delta" in kinds[1:second], "the first sentence is heard before the second is read"
    await talk.end()


async def test_the_end_of_the_call_ends_the_work_at_every_answer() -> None:
    left: list[str] = []

    async def work(reply: Reply) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            left.append(reply.call.id)

    talk = asked(work)
    talk.ask("response.create")
    await until(lambda: "response.created" in talk.told())
    await settled()
    talk.close()
    await talk.over.wait()
    assert left == ["rtc_test"], "one was worked at; the other never began"
    assert len(talk.ended) == 1
