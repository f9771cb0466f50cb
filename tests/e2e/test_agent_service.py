"""Callers of `firsthop agent`: by WebRTC, through relay, transceiver and WebSocket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from e2e import network, sound
from e2e.pages import origin
from e2e.peer import Peer
from e2e.processes import Edge, Process
from e2e.sdk_page import client_secret, sdk_page
from e2e.waiting import until
from firsthop.bench.endpoints import Endpoints, Fault, Reply, Script, in_turn, serving

QUESTION = "What is two hundred and fifty six plus thirty one?"
STORY = "Once upon a time there was a lighthouse. " + "And the sea went up and down. " * 12
FAR_TOO_LONG = len(STORY) - 40


async def test_without_keys_and_network_a_question_is_heard_and_answered_with_a_tool(
    edge: Edge, peer: Peer
) -> None:
    sent_away = await network.quiet()
    process = await edge.dev("realtime")
    await peer.call(process.url)
    greeted = await peer.event("output_audio_buffer.stopped")
    greeting = len(peer.heard)

    peer.microphone.say(sound.speech(QUESTION))
    heard = await peer.event("conversation.item.input_audio_transcription.completed")
    assert heard["transcript"] == "what is two hundred and fifty six plus thirty one"
    used = await peer.event(
        "response.output_item.done", lambda event: event["item"]["type"] == "mcp_call"
    )
    assert (used["item"]["name"], used["item"]["output"]) == ("calculate", "287")
    await peer.event(
        "output_audio_buffer.stopped",
        lambda event: event["response_id"] != greeted["response_id"],
    )
    first, last = sound.audible(peer.heard[greeting:])
    assert last - first > sound.RATE, "it says more than a word"
    await edge.stop()
    assert network.packets_sent_away() == sent_away


async def start(edge: Edge, endpoints: Endpoints) -> tuple[Process, Process]:
    """Start every part by itself; return transceiver and agent."""
    stages = {
        f"agent__{stage}": {"url": endpoints.url, "timeout_seconds": 1}
        for stage in ("transcription", "chat", "speech")
    }
    await edge.relay()
    agent = await edge.agent(**stages)
    url = f"ws://127.0.0.1:{agent.http_port}/v1/realtime?model=any"
    return await edge.transceiver("realtime", realtime__url=url), agent


def messages(endpoints: Endpoints) -> list[dict[str, Any]]:
    """What the model was told last."""
    told: list[dict[str, Any]] = endpoints.asked["chat"][-1]["messages"]
    return [message for message in told if message["role"] != "system"]


async def test_an_interrupted_story_is_remembered_as_far_as_it_was_heard(
    edge: Edge, peer: Peer
) -> None:
    script = Script(
        transcript=in_turn("Tell me a story.", "Stop it."), reply=in_turn(STORY, "As you like.")
    )
    async with serving(script) as endpoints:
        transceiver, _ = await start(edge, endpoints)
        await peer.call(transceiver.url)
        peer.microphone.say(sound.speech(sound.SENTENCE))
        started = await peer.event("output_audio_buffer.started")
        peer.microphone.say(sound.silence(2))
        peer.microphone.say(sound.speech(sound.OTHER_SENTENCE))
        await peer.event("output_audio_buffer.cleared")
        await peer.event("conversation.item.truncated")
        done = await peer.event(
            "response.done", lambda event: event["response"]["id"] != started["response_id"]
        )
        assert done["response"]["output"][0]["content"][0]["transcript"] == "As you like."
        user, assistant, again = messages(endpoints)
        assert (user["content"], again["content"]) == ("Tell me a story.", "Stop it.")
        assert STORY.startswith(assistant["content"])
        assert 0 < len(assistant["content"]) < FAR_TOO_LONG
        await endpoints.until(lambda: endpoints.open == 0)


async def test_a_call_outlives_endpoints_that_fail_and_the_agent_service_itself(
    edge: Edge, peer: Peer
) -> None:
    script = Script(transcript=in_turn("One.", "Two.", "Three."), reply=in_turn("First.", "Third."))
    async with serving(script) as endpoints:
        transceiver, agent = await start(edge, endpoints)
        await peer.call(transceiver.url)
        words = sound.speech("One or two words.")

        peer.microphone.say(words)
        await answer(peer, 1, "First.")

        endpoints.fail("chat", Fault("hang"))
        peer.microphone.say(words)
        failed = await answer(peer, 2, "Sorry, something went wrong on my side. Please try again.")
        assert failed["status_details"]["error"]["code"] == "chat_timeout"
        error = await peer.event("error")
        assert error["error"]["type"] == "server_error"
        endpoints.mend("chat")

        agent.kill()
        await agent.start()
        peer.microphone.say(words)
        await answer(peer, 3, "Third.")
        told = [message["content"] for message in messages(endpoints)]
        assert told[:3] == ["One.", "First.", "Two."], "what was said before is known"
        assert told[-1] == "Three."


@pytest.mark.browser
async def test_the_sdk_sees_the_agents_tools_and_runs_its_own(edge: Edge, tmp_path: Path) -> None:
    tools = (("calculate", '{"expression": "2 * 3"}'), ("get_weather", '{"city": "Lisbon"}'))
    script = Script(reply=in_turn(Reply("Let me see.", tools=tools), "It is six, and sunny."))
    port = network.ports()
    async with serving(script) as endpoints:
        process = await edge.dev(
            "realtime",
            signaling__allowed_origins=[origin(port)],
            agent__tools=["firsthop.agent.tools.builtin"],
            agent__chat={"url": endpoints.url},
            agent__speech={"url": endpoints.url},
        )
        async with sdk_page(tmp_path, port) as page:
            await page.connect(process.url, await client_secret(process.url))
            await page.do("write", "What is two times three, and how is the weather?")
            await page.event("output_audio_buffer.stopped", number=2)
            history = await page.history()
            await page.check_that_all_was_understood()
    kinds = [item["type"] for item in history]
    assert kinds == ["message", "message", "mcp_call", "function_call", "message"]
    assert (history[2]["name"], history[2]["output"]) == ("calculate", "6")
    assert history[3]["name"] == "get_weather"
    assert history[4]["content"][0]["transcript"] == "It is six, and sunny."
    outputs = [message["content"] for message in messages(endpoints) if message["role"] == "tool"]
    assert outputs == ["6", history[3]["output"]]


async def answer(peer: Peer, number: int, words: str) -> dict[str, Any]:
    """Wait until the agent's answer has been heard; check it."""

    def answers() -> list[dict[str, Any]]:
        done = [event["response"] for event in peer.events if event["type"] == "response.done"]
        return [response for response in done if response["output"]]

    await until(lambda: len(answers()) >= number, f"answer {number}")
    response = answers()[number - 1]
    said = [part["transcript"] for item in response["output"] for part in item["content"]]
    assert "".join(said) == words
    await peer.event(
        "output_audio_buffer.stopped", lambda event: event["response_id"] == response["id"]
    )
    return response
