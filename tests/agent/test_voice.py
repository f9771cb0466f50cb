"""The voice agent, between stages that do as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agent.stand_ins import SOUND, ScriptedModel, ScriptedTranscriber, ToneSynthesiser
from calls.conversation import Conversation, settled, until
from firsthop import tool
from firsthop._native import Event
from firsthop.agent.stages import RATE, Cut, StageError, Text, ToolRequest, Usage
from firsthop.agent.times import TurnTimes
from firsthop.agent.tools.base import ToolContext
from firsthop.agent.tools.function import PythonTool
from firsthop.agent.tools.toolbox import Toolbox
from firsthop.agent.voice import VoiceAgent
from firsthop.config import AgentSettings
from firsthop.telemetry.metrics import Metrics

WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
DOWN = StageError("chat_unreachable", "the language model cannot be reached")


@tool
async def clock(context: ToolContext, zone: str = "UTC") -> str:
    """Tell the time."""
    return f"noon in {zone}"


@tool
async def alarm(context: ToolContext) -> str:
    """Ring at once."""
    context.announce("Ring, ring.")
    return "done"


class Talk:
    """A caller and the agent.

    Args:
        heard: What the transcriber makes of each turn.
        answers: What the model thinks, an answer at a time.
    """

    def __init__(self, *answers: Any, heard: Any = ("hello",), **settings: Any) -> None:
        self.ears = ScriptedTranscriber(*heard)
        self.model = ScriptedModel(*answers)
        self.voice = ToneSynthesiser()
        self.times: list[TurnTimes] = []
        agent_settings = AgentSettings(**settings)
        toolbox = Toolbox([PythonTool(clock), PythonTool(alarm)], agent_settings, Metrics())
        self.agent = VoiceAgent(
            agent_settings,
            self.ears,
            self.model,
            self.voice,
            toolbox,
            Metrics(),
            self.times.append,
        )
        self.call = Conversation(self.agent.serve, sample_rate=RATE)

    async def turn(self, seconds: float = 0.5) -> None:
        """Have the caller say something, by push-to-talk."""
        detection = {"audio": {"input": {"turn_detection": None}}}
        self.call.ask("session.update", session={"type": "realtime", **detection})
        before = len(self.call.all("response.created"))
        self.call.report(Event.Audio(1, 0, bytes(int(seconds * RATE) * 2)))
        self.call.ask("input_audio_buffer.commit")
        self.call.ask("response.create")
        await until(lambda: len(self.call.all("response.created")) > before)

    async def done(self, number: int = 1) -> dict[str, Any]:
        """Wait until so many responses are done; return the last."""
        await until(lambda: len(self.call.all("response.done")) >= number)
        response: dict[str, Any] = self.call.all("response.done")[number - 1]["response"]
        return response

    def transcripts(self) -> list[str]:
        """What the agent has said, response by response."""
        return [
            "".join(
                part.get("transcript") or part.get("text") or ""
                for item in event["response"]["output"]
                for part in item.get("content", ())
            )
            for event in self.call.all("response.done")
        ]


@asynccontextmanager
async def talking(*answers: Any, **more: Any) -> AsyncIterator[Talk]:
    """A call with the agent; nothing is left open after it."""
    talk = Talk(*answers, **more)
    talk.call.connect()
    try:
        yield talk
    finally:
        await talk.call.end()
        await talk.agent.close()
    assert (talk.model.open, talk.voice.open, talk.ears.open) == (0, 0, [])
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_turn_is_heard_thought_over_and_answered_sentence_by_sentence() -> None:
    answer = [Text("It is "), Text("noon. And the sun"), Text(" is shining."), Usage(20, 9)]
    async with talking(answer) as talk:
        await talk.turn()
        response = await talk.done()
        assert response["status"] == "completed"
        assert response["usage"]["total_tokens"] == 29
        assert talk.transcripts() == ["It is noon. And the sun is shining."]
        assert talk.voice.said == ["It is noon.", "And the sun is shining."]
        [heard] = talk.call.all("conversation.item.input_audio_transcription.completed")
        assert heard["transcript"] == "hello"
        assert heard["usage"] == {"type": "duration", "seconds": 0.5}
        played = [note[3] for note in talk.call.engine.notes if note[0] == "play"]
        assert b"".join(p for p in played if isinstance(p, bytes)) == 2 * SOUND
        [times] = talk.times
        assert list(times.reached) == ["transcript", "token", "audio"]


async def test_the_model_is_told_what_was_said_and_what_of_it_was_heard() -> None:
    first = [Text("Alpha beta gamma delta.")]
    async with talking(
        first, [Text("Good.")], heard=("one", "two"), instructions="Be brief."
    ) as talk:
        await talk.turn()
        await talk.done()
        talk.call.report(Event.PlayoutStarted(1, 0))
        talk.call.ask("output_audio_buffer.clear")
        talk.call.report(Event.PlayoutEnded(1, 0, 50, True))
        await talk.turn()
        await talk.done(2)
        assert talk.model.prompts[1].messages == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "Alpha beta"},
            {"role": "user", "content": "two"},
        ]


async def test_a_tool_of_ours_is_used_and_shown_and_its_output_thought_over() -> None:
    asks = [Text("Let me see."), ToolRequest("c1", "clock", '{"zone": "Oslo"}')]
    async with talking(asks, [Text("It is noon.")]) as talk:
        await talk.turn()
        response = await talk.done()
        kinds = [item["type"] for item in response["output"]]
        assert kinds == ["message", "mcp_call", "message"]
        use = response["output"][1]
        assert (use["server_label"], use["name"], use["output"]) == (
            "python",
            "clock",
            "noon in Oslo",
        )
        names = {definition["name"] for definition in talk.model.prompts[0].tools}
        assert names == {"clock", "alarm"}
        assert talk.model.prompts[1].messages[-3:] == [
            {"role": "assistant", "content": "Let me see."},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "clock", "arguments": '{"zone": "Oslo"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "noon in Oslo"},
        ]


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (ToolRequest("c1", "moon", "{}"), "moon"),
        (ToolRequest("c1", "clock", "{zone"), "JSON"),
        (ToolRequest("c1", "clock", '{"zone": 5}'), "zone"),
        (ToolRequest("c1", "clock", '{"sun": 5}'), "sun"),
    ],
)
async def test_a_tool_that_is_used_wrongly_is_the_models_to_put_right(
    request_: ToolRequest, told: str
) -> None:
    async with talking([request_], [Text("I cannot tell.")]) as talk:
        await talk.turn()
        response = await talk.done()
        assert response["status"] == "completed"
        assert response["output"][0]["error"]["type"] == "tool_execution_error"
        content = talk.model.prompts[1].messages[-1]["content"]
        assert content.startswith("The tool failed: ")
        assert told in content
        assert talk.transcripts() == ["I cannot tell."]


async def test_a_tool_of_the_client_is_called_by_the_client() -> None:
    asks = [ToolRequest("c1", "weather", '{"city": "Oslo"}'), ToolRequest("c2", "clock", "{}")]
    async with talking(asks, [Text("Rain.")]) as talk:
        talk.call.ask("session.update", session={"type": "realtime", "tools": [WEATHER]})
        await talk.turn()
        response = await talk.done()
        use, invoked = response["output"]
        assert (use["type"], invoked["type"]) == ("mcp_call", "function_call")
        output = {"type": "function_call_output", "call_id": invoked["call_id"], "output": "rain"}
        talk.call.ask("conversation.item.create", item=output)
        talk.call.ask("response.create")
        await talk.done(2)
        assert talk.transcripts() == ["", "Rain."]
        tools = [message for message in talk.model.prompts[1].messages if message["role"] == "tool"]
        assert [message["content"] for message in tools] == ["rain", "noon in UTC"]
        assert talk.call.all("error") == []


async def test_a_client_that_never_runs_its_tool_does_not_stop_the_call() -> None:
    asks = [ToolRequest("c1", "weather", "{}")]
    async with talking(asks, [Text("I do not know.")], tool_timeout_seconds=0.05) as talk:
        talk.call.ask("session.update", session={"type": "realtime", "tools": [WEATHER]})
        await talk.turn()
        await talk.done()
        await talk.done(2)
        assert talk.transcripts()[-1] == "I do not know."
        assert "No answer within" in talk.model.prompts[1].messages[-1]["content"]


async def test_a_tool_that_has_to_be_called_has_to_be_called_once() -> None:
    asks = [ToolRequest("c1", "clock", "{}")]
    async with talking(asks, [Text("It is noon.")]) as talk:
        talk.call.ask("session.update", session={"type": "realtime", "tool_choice": "required"})
        await talk.turn()
        await talk.done()
        assert [prompt.tool_choice for prompt in talk.model.prompts] == ["required", "auto"]


async def test_a_model_that_wants_nothing_but_tools_is_told_to_answer_at_last() -> None:
    asks = [ToolRequest("c1", "clock", "{}")]
    async with talking(*[asks] * 20) as talk:
        await talk.turn()
        await talk.done()
        assert len(talk.model.prompts) == 8
        assert talk.model.prompts[-1].tools == ()
        assert talk.model.prompts[-1].tool_choice == "none"


async def test_what_could_not_be_heard_is_said_and_shown() -> None:
    deaf = StageError("transcription_timeout", "the transcription did not answer within 10 s")
    async with talking(heard=(deaf,)) as talk:
        talk.agent.apologies.prepare()
        await settled()
        await talk.turn()
        await talk.done()
        [failed] = talk.call.all("conversation.item.input_audio_transcription.failed")
        assert failed["error"]["code"] == "transcription_timeout"
        assert talk.transcripts() == ["Sorry, I could not hear that. Please say it again."]
        assert talk.model.prompts == []
        played = [note[3] for note in talk.call.engine.notes if note[0] == "play"]
        assert b"".join(p for p in played if isinstance(p, bytes)) == SOUND


async def test_silence_is_not_answered() -> None:
    async with talking(heard=("  ",)) as talk:
        await talk.turn()
        response = await talk.done()
        assert (response["status"], response["output"]) == ("completed", [])
        assert talk.model.prompts == []


async def test_a_model_that_is_down_is_an_error_and_an_apology_and_the_call_goes_on() -> None:
    async with talking([DOWN], [Text("Here I am.")], heard=("one", "two")) as talk:
        await talk.turn()
        response = await talk.done()
        assert response["status"] == "failed"
        assert response["status_details"]["error"]["code"] == "chat_unreachable"
        [error] = talk.call.all("error")
        assert error["error"]["message"] == "the language model cannot be reached"
        assert talk.transcripts() == ["Sorry, something went wrong on my side. Please try again."]
        await talk.turn()
        response = await talk.done(2)
        assert response["status"] == "completed"
        assert talk.transcripts()[-1] == "Here I am."


async def test_a_model_that_stops_in_mid_sentence_has_said_what_it_had_said() -> None:
    async with talking([Text("The answer is. It"), Text(" may"), DOWN]) as talk:
        await talk.turn()
        response = await talk.done()
        assert response["status"] == "failed"
        first, apology = response["output"]
        assert first["content"][0]["transcript"] == "The answer is. It may"
        assert apology["content"][0]["transcript"].startswith("Sorry")


async def test_what_cannot_be_spoken_can_be_read() -> None:
    async with talking([Text("One sentence. "), Text("Another one.")]) as talk:
        talk.voice.failure = StageError("speech_failed", "the speech server failed")
        await talk.turn()
        response = await talk.done()
        assert response["status"] == "failed"
        assert talk.transcripts()[0].startswith("One sentence. Another one.")
        [error] = talk.call.all("error")
        assert error["error"]["code"] == "speech_failed"


async def test_a_voice_that_is_broken_holds_nobody_up() -> None:
    async with talking([Text("One sentence. "), Text("Another one.")]) as talk:
        talk.voice.failure = ValueError("a mistake in the stage")
        await talk.turn()
        response = await talk.done()
        assert response["status"] == "failed"
        assert talk.transcripts()[0].startswith("One sentence. Another one.")
        [error] = talk.call.all("error")
        assert error["error"]["code"] == "speech_failed"
        assert "mistake" not in str(error)


async def test_an_answer_that_is_cut_says_so() -> None:
    async with talking([Text("So far."), Cut("max_output_tokens")]) as talk:
        await talk.turn()
        response = await talk.done()
        assert response["status"] == "incomplete"
        assert response["status_details"]["reason"] == "max_output_tokens"


async def test_an_answer_without_end_is_cut() -> None:
    async with talking([Text("word " * 100)] * 100) as talk:
        await talk.turn()
        response = await talk.done()
        assert response["status"] == "incomplete"
        assert 4000 <= len(talk.transcripts()[0]) < 5000


@pytest.mark.parametrize("stage", ["transcript", "token", "speech"])
async def test_an_interruption_stops_every_stage_at_once(stage: str) -> None:
    never = asyncio.Event()
    answer = [never] if stage == "token" else [Text("A long story. Once"), never]
    heard = (never, "late") if stage == "transcript" else ("tell me",)
    async with talking(answer, heard=heard) as talk:
        talk.voice.gate = never
        await talk.turn()
        reached = {
            "transcript": lambda: talk.ears.finished,
            "token": lambda: talk.model.open,
            "speech": lambda: talk.voice.open,
        }[stage]
        await until(reached)
        talk.call.ask("response.cancel")
        if stage == "speech":
            talk.call.report(Event.PlayoutEnded(1, 0, 50, True))
        response = await talk.done()
        assert response["status"] == "cancelled"
        await settled()
        assert (talk.model.open, talk.voice.open) == (0, 0)


async def test_what_was_said_before_an_interruption_is_still_written_down() -> None:
    gate = asyncio.Event()
    async with talking([Text("Yes.")], heard=(gate, "first", "second")) as talk:
        await talk.turn()
        await until(lambda: talk.ears.finished)
        talk.call.ask("response.cancel")
        await talk.done()
        gate.set()
        await talk.turn()
        await talk.done(2)
        spoken = [m["content"] for m in talk.model.prompts[0].messages if m["role"] == "user"]
        assert spoken == ["first", "second"]


async def test_what_is_only_read_is_not_spoken() -> None:
    async with talking([Text("Only "), Text("text.")]) as talk:
        session = {"type": "realtime", "output_modalities": ["text"]}
        talk.call.ask("session.update", session=session)
        await talk.turn()
        await talk.done()
        assert talk.transcripts() == ["Only text."]
        assert talk.voice.said == []
        deltas = [event["delta"] for event in talk.call.all("response.output_text.delta")]
        assert deltas == ["Only ", "text."]


async def test_typed_words_are_answered() -> None:
    async with talking([Text("Hello to you.")]) as talk:
        content = [{"type": "input_text", "text": "Hi there."}]
        item = {"type": "message", "role": "user", "content": content}
        talk.call.ask("conversation.item.create", item=item)
        talk.call.ask("response.create", response={"instructions": "Be kind."})
        await talk.done()
        assert talk.model.prompts[0].messages == [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Hi there."},
        ]


async def test_the_session_says_how_to_hear_and_how_to_sound() -> None:
    async with talking([Text("Oui.")]) as talk:
        transcription = {"model": "m", "language": "fr", "prompt": "Fromage"}
        audio = {"input": {"transcription": transcription}, "output": {"voice": "marin"}}
        talk.call.ask("session.update", session={"type": "realtime", "audio": audio})
        await talk.turn()
        await talk.done()
        assert talk.ears.wanted == [("fr", "Fromage")]
        assert talk.voice.voices == ["marin"]


async def test_it_greets_if_it_is_told_to() -> None:
    async with talking(greeting="Good morning.") as talk:
        await talk.done()
        assert talk.transcripts() == ["Good morning."]


async def test_who_was_greeted_in_the_call_before_is_not_greeted_again() -> None:
    talk = Talk(greeting="Good morning.")
    talk.call.call.continued = True
    talk.call.connect()
    await settled()
    assert talk.transcripts() == []
    await talk.call.end()
    await talk.agent.close()


async def test_a_tool_may_speak_up_later() -> None:
    async with talking([ToolRequest("c1", "alarm", "{}")], [Text("It is set.")]) as talk:
        await talk.turn()
        await talk.done(2)
        assert talk.transcripts() == ["It is set.", "Ring, ring."]


async def test_what_a_tool_says_of_its_own_accord_is_said_again_if_it_was_interrupted() -> None:
    async with talking([ToolRequest("c1", "alarm", "{}")], [Text("It is set.")]) as talk:
        talk.voice.gate = asyncio.Event()
        await talk.turn()
        await until(lambda: "It is set." in talk.voice.said)
        talk.call.ask("response.cancel")
        talk.call.report(Event.PlayoutEnded(1, 0, 50, True))
        talk.voice.gate = None
        await until(lambda: "Ring, ring." in talk.voice.said)
        await talk.done(2)
