"""A live call between an engine without sockets and an agent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from calls.conversation import FRAME, RATE, Conversation, Listener, idle, until
from firsthop._native import Event
from firsthop.call import AudioFrame, Call, Message, Played, SpeechEnded, SpeechStarted
from firsthop.calls import serving as module
from firsthop.config import Settings, TurnSettings
from firsthop.errors import SessionClosed
from speech.sentence import silence, spoken


async def test_agent_starts_when_the_client_connects_and_ends_with_the_call() -> None:
    listener = Listener()
    conversation = Conversation(listener)
    conversation.report(Event.Audio(1, 0, FRAME))
    conversation.connect()
    conversation.report(Event.Audio(1, 320, FRAME))
    conversation.close()
    await conversation.over.wait()
    assert listener.heard == [AudioFrame(FRAME, 0), AudioFrame(FRAME, 20)]
    assert conversation.told() == ["session.created"]
    assert conversation.ended == [conversation.call]
    assert conversation.count("firsthop_transceiver_calls_ended_total", reason="client_closed") == 1
    assert conversation.count("firsthop_transceiver_setup_seconds_count") == 1


async def test_a_client_that_never_connects_is_forgotten_without_an_agent() -> None:
    conversation = Conversation(idle)
    conversation.close("setup_timeout")
    assert conversation.ended == [conversation.call]
    assert conversation.call.ended == "setup_timeout"


async def test_the_call_is_hung_up_when_the_agent_returns() -> None:
    async def brief(call: Call) -> None:
        await call.say(FRAME)

    conversation = Conversation(brief)
    conversation.connect()
    await conversation.engine.until("play", 1, 0, FRAME, True)
    conversation.report(Event.PlayoutStarted(1, 0), Event.PlayoutEnded(1, 0, 20, False))
    await conversation.engine.until("close", 1)
    assert conversation.ended == [], "not before the engine has let go of it"
    conversation.close("hung_up")
    assert conversation.ended == [conversation.call]


async def test_an_end_in_the_very_moment_that_the_agent_returns_is_told_once() -> None:
    returned = asyncio.Event()

    async def brief(call: Call) -> None:
        returned.set()

    conversation = Conversation(brief)
    conversation.connect()
    await returned.wait()
    conversation.close()  # The agent's task is done; nobody has been told of it yet.
    await conversation.over.wait()
    assert conversation.ended == [conversation.call]
    assert ("close", 1) not in conversation.engine.notes


async def test_an_agent_that_fails_ends_its_call_and_the_client_is_told() -> None:
    async def failing(call: Call) -> None:
        raise ZeroDivisionError

    conversation = Conversation(failing)
    conversation.connect()
    await conversation.engine.until("close", 1)
    assert conversation.told() == ["session.created", "error"]
    assert conversation.engine.texts[-1]["error"]["type"] == "server_error"


async def test_an_agent_that_speaks_after_the_caller_hung_up_has_not_failed() -> None:
    hung_up = asyncio.Event()

    async def late(call: Call) -> None:
        await hung_up.wait()
        call.say(FRAME)

    conversation = Conversation(late)
    conversation.connect()
    conversation.close()
    hung_up.set()
    await conversation.over.wait()
    assert conversation.told() == ["session.created"]


async def test_an_agent_that_does_not_return_is_cancelled_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_FAREWELL_SECONDS", 0.0)
    cancelled = asyncio.Event()

    async def endless(call: Call) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    conversation = Conversation(endless)
    conversation.connect()
    await asyncio.sleep(0)
    conversation.close()
    await conversation.over.wait()
    assert cancelled.is_set()
    assert conversation.ended == [conversation.call]


async def test_an_agent_that_is_cancelled_before_it_began_is_done_too() -> None:
    conversation = Conversation(idle)
    conversation.connect()
    conversation.call.hang_up()
    conversation.call.cancel()
    conversation.close("hung_up")
    await conversation.over.wait()
    assert conversation.ended == [conversation.call]


async def test_a_turn_reaches_agent_and_client() -> None:
    listener = Listener()
    conversation = Conversation(listener)
    conversation.connect()
    conversation.hear(silence(500, RATE) + await spoken(RATE) + silence(1000, RATE))
    conversation.close()
    await conversation.over.wait()
    turns = [event for event in listener.heard if not isinstance(event, AudioFrame)]
    assert [type(turn) for turn in turns] == [SpeechStarted, SpeechEnded]
    assert conversation.told() == [
        "session.created",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]
    frames = [event.at_ms for event in listener.heard if isinstance(event, AudioFrame)]
    assert frames == list(range(0, 20 * len(frames), 20))


@pytest.mark.parametrize("interrupt_response", [True, False])
async def test_callers_interrupt_agents_that_can_be_interrupted(interrupt_response: bool) -> None:
    settings = Settings(turns=TurnSettings(interrupt_response=interrupt_response))
    conversation = Conversation(idle, settings)
    conversation.connect()
    playback = conversation.call.say(bytes(RATE))
    conversation.hear(silence(500, RATE) + await spoken(RATE))
    flushed = ("flush", 1) in conversation.engine.notes
    assert flushed == interrupt_response
    counted = conversation.count("firsthop_transceiver_interruptions_total")
    assert counted == interrupt_response
    conversation.report(Event.PlayoutEnded(1, 0, 120, flushed))
    assert await playback == Played(ms=120, interrupted=interrupt_response)
    conversation.close()
    await conversation.over.wait()


@pytest.mark.parametrize("kind", ["response.cancel", "output_audio_buffer.clear"])
async def test_clients_interrupt_agents(kind: str) -> None:
    conversation = Conversation(idle)
    conversation.connect()
    text = f'{{"type": "{kind}"}}'
    conversation.report(Event.Message(1, text))
    assert ("flush", 1) not in conversation.engine.notes, "there is nothing to stop"
    conversation.call.say(FRAME)
    conversation.report(Event.Message(1, text))
    assert conversation.engine.notes[-1] == ("flush", 1)
    conversation.close()
    await conversation.over.wait()


async def test_other_events_of_the_client_are_the_agents() -> None:
    listener = Listener()
    conversation = Conversation(listener)
    conversation.connect()
    conversation.report(Event.Message(1, '{"type": "weather.ask"}'), Event.Message(1, "nonsense"))
    conversation.close()
    await conversation.over.wait()
    assert listener.heard == [Message({"type": "weather.ask"})]
    assert conversation.told() == ["session.created", "error"]


async def test_an_engine_that_does_not_keep_up_loses_no_news_no_turn_and_no_flush() -> None:
    listener = Listener()
    conversation = Conversation(listener)
    conversation.connect()
    conversation.call.say(bytes(RATE))
    conversation.engine.overloads = 3
    conversation.hear(silence(500, RATE) + await spoken(RATE))
    await conversation.engine.until("flush", 1)
    await until(lambda: "input_audio_buffer.speech_started" in conversation.told())
    conversation.close()
    await conversation.over.wait()
    assert any(isinstance(event, SpeechStarted) for event in listener.heard)


async def test_hanging_up_is_repeated_until_the_engine_takes_it() -> None:
    conversation = Conversation(idle)
    conversation.engine.overloads = 2
    conversation.call.hang_up()
    await conversation.engine.until("close", 1)
    assert conversation.engine.notes == [("close", 1)]


async def test_a_call_that_is_over_asks_nothing_of_a_stopped_engine() -> None:
    conversation = Conversation(idle)
    conversation.connect()
    call = conversation.call
    playback = call.say(FRAME)
    conversation.close()
    conversation.engine.stop()
    call.send({"type": "too.late"})
    call.hang_up()
    assert await call.interrupt() == []
    assert (await playback).interrupted
    with pytest.raises(SessionClosed):
        call.say(FRAME)
    await conversation.over.wait()


async def test_what_the_agent_says_is_told_to_the_client() -> None:
    conversation = Conversation(idle)
    conversation.connect()
    conversation.call.say(FRAME, text="Hello.")
    conversation.report(Event.PlayoutStarted(1, 0), Event.PlayoutEnded(1, 0, 20, False))
    [done] = conversation.all("response.done")
    assert done["response"]["output"][0]["content"][0]["transcript"] == "Hello."
    conversation.close()
    await conversation.over.wait()


async def test_of_what_another_server_said_the_words_are_kept_that_were_heard() -> None:
    conversation = Conversation(idle, realtime=True)
    conversation.connect()
    call = conversation.call
    content = [{"type": "output_audio", "transcript": "One two three four."}]
    item = {
        "id": "item_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": content,
    }
    call.play(bytes(2 * RATE), response_id="resp_1", item_id="item_1")
    call.send({"type": "conversation.item.done", "item": item, "previous_item_id": None})
    conversation.report(Event.PlayoutStarted(1, 0), Event.PlayoutEnded(1, 0, 500, True))
    truncated = {"item_id": "item_1", "content_index": 0, "audio_end_ms": 500}
    call.send({"type": "conversation.item.truncated", **truncated})
    [retrieved] = conversation.ask("conversation.item.retrieve", item_id="item_1")
    assert retrieved["item"]["status"] == "incomplete"
    assert retrieved["item"]["content"][0]["transcript"] == "One two"
    await conversation.end()


async def test_a_client_that_only_reads_is_written_to() -> None:
    conversation = Conversation(idle)
    conversation.connect()
    conversation.ask("session.update", session={"output_modalities": ["text"]})
    conversation.events.clear()

    async def pieces() -> AsyncIterator[bytes]:
        yield FRAME
        yield FRAME

    whole = conversation.call.say(FRAME, text="Hello.")
    stream = conversation.call.say(pieces(), text="How are you?")
    assert await whole == Played(ms=0, interrupted=False)
    assert await stream == Played(ms=0, interrupted=False)
    assert [note for note in conversation.engine.notes if note[0] == "play"] == []
    assert conversation.told()[:9] == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
    ]
    [first, second] = conversation.all("response.done")
    assert first["response"]["output"][0]["content"] == [{"type": "output_text", "text": "Hello."}]
    assert second["response"]["output"][0]["content"][0]["text"] == "How are you?"

    async def endless() -> AsyncIterator[bytes]:
        yield FRAME
        await asyncio.Event().wait()

    unfinished = conversation.call.say(endless(), text="Well")
    await conversation.call.interrupt()
    assert await unfinished == Played(ms=0, interrupted=True)
    assert conversation.call._voicing._unspoken == set()
    await conversation.end()
