"""The Realtime contract as a client on the data channel sees it: order, ids, answers, errors.

Every event passes the schemas of the clients' own packages (`conversation.check`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from calls.conversation import (
    FRAME,
    REQUIRED,
    SECOND,
    Conversation,
    EventEnd,
    Listener,
    Told,
    idle,
    settled,
)
from firsthop._native import Event
from firsthop.call import Call, Message, Played, SpeechEnded, SpeechStarted
from firsthop.calls.terms import Terms
from firsthop.config import Settings, TurnSettings
from firsthop.errors import BackendError, SessionClosed

TOOLS = [{"type": "function", "name": "weather", "parameters": {"type": "object"}}]
#: A response's events from its announcement to its end, if it has words.
CREATED = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
]
DONE = [
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
    "response.done",
]


class Pieces:
    """A stream of sound that the test feeds."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()

    def give(self, piece: bytes | Exception | None) -> None:
        """The next piece, a failure, or the end."""
        self._queue.put_nowait(piece)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (piece := await self._queue.get()) is not None:
            if isinstance(piece, Exception):
                raise piece
            yield piece


def connected(agent: Any = idle, **session: Any) -> Conversation:
    """A call that has been greeted; `session` is what it was placed with."""
    conversation = Conversation(agent, terms=Terms(session=session))
    conversation.connect()
    return conversation


def started(conversation: Conversation, utterance: int = 0) -> None:
    """Have the line begin with an utterance."""
    conversation.report(Event.PlayoutStarted(1, utterance))


def ended(conversation: Conversation, utterance: int, ms: int, *, interrupted: bool) -> None:
    """Have the line end one."""
    conversation.report(Event.PlayoutEnded(1, utterance, ms, interrupted))


# Responses.


async def test_a_speech_that_is_whole_is_done_before_it_is_heard() -> None:
    conversation = connected()
    conversation.call.say(FRAME, text="Hello.")
    assert conversation.told() == ["session.created", *CREATED, *DONE]
    started(conversation)
    ended(conversation, 0, 20, interrupted=False)
    assert conversation.told()[-2:] == [
        "output_audio_buffer.started",
        "output_audio_buffer.stopped",
    ]
    [done] = conversation.all("response.done")
    response = done["response"]
    assert (response["status"], response["status_details"]) == ("completed", None)
    [item] = response["output"]
    assert (item["role"], item["status"]) == ("assistant", "completed")
    assert item["content"] == [{"type": "output_audio", "transcript": "Hello."}]
    await conversation.end()


async def test_a_response_and_its_item_keep_their_ids_and_no_other_has_them() -> None:
    conversation = connected()
    for utterance in (0, 1):
        conversation.call.say(FRAME, text="Hello.")
        started(conversation, utterance)
        ended(conversation, utterance, 20, interrupted=False)
    events = conversation.events
    placed = [event for event in events if {"response_id", "item_id"} <= event.keys()]
    assert len({event["item_id"] for event in placed}) == 2
    assert len({(event["response_id"], event["item_id"]) for event in placed}) == 2
    responses = {event["response"]["id"] for event in events if "response" in event}
    assert responses == {event["response_id"] for event in events if "response_id" in event}
    ids = [event["event_id"] for event in events]
    assert len(set(ids)) == len(ids)
    await conversation.end()


async def test_a_stream_is_done_when_it_is_made() -> None:
    conversation, pieces = connected(), Pieces()
    conversation.call.say(pieces, text="Hello.")
    pieces.give(FRAME)
    await settled()
    started(conversation)
    assert conversation.told() == ["session.created", *CREATED, "output_audio_buffer.started"]
    pieces.give(None)
    await settled()
    assert conversation.told()[-len(DONE) :] == DONE
    ended(conversation, 0, 20, interrupted=False)
    assert conversation.told()[-1] == "output_audio_buffer.stopped"
    await conversation.end()


async def test_a_speech_without_words_has_no_transcript_to_tell_piece_by_piece() -> None:
    conversation = connected()
    conversation.call.say(FRAME)
    assert "response.output_audio_transcript.delta" not in conversation.told()
    [told] = conversation.all("response.output_audio_transcript.done")
    assert told["transcript"] == ""
    await conversation.end()


async def test_one_response_at_a_time_is_under_way() -> None:
    conversation, pieces = connected(), Pieces()
    conversation.call.say(pieces, text="First.")
    conversation.call.say(FRAME, text="Second.")
    assert conversation.told() == ["session.created", *CREATED]
    pieces.give(None)
    await settled()
    assert conversation.told()[1:] == [*CREATED, *DONE, *CREATED, *DONE]
    await conversation.end()


async def test_what_is_interrupted_while_it_is_made_is_cancelled_and_truncated() -> None:
    conversation, pieces = connected(), Pieces()
    playback = conversation.call.say(pieces, text="One two three four five six seven eight.")
    pieces.give(SECOND)
    await settled()
    started(conversation)
    before = len(conversation.events)
    conversation.ask("response.cancel")
    ended(conversation, 0, 600, interrupted=True)
    assert conversation.told()[before:] == [
        "output_audio_buffer.cleared",
        *DONE,
        "conversation.item.truncated",
    ]
    [done], [truncated] = (
        conversation.all("response.done"),
        conversation.all("conversation.item.truncated"),
    )
    response = done["response"]
    assert response["status"] == "cancelled"
    assert response["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    [item] = response["output"]
    assert (item["id"], item["status"]) == (truncated["item_id"], "incomplete")
    assert truncated["audio_end_ms"] == 600
    # The stream's length is not known: ten characters or so are said in 600 ms.
    assert item["content"][0]["transcript"] == "One two"
    assert await playback == Played(600, interrupted=True)
    await conversation.end()


async def test_what_is_interrupted_after_it_was_made_is_truncated_and_stays_done() -> None:
    conversation = connected()
    conversation.call.say(SECOND, text="One two three four.")
    started(conversation)
    before = len(conversation.events)
    conversation.ask("output_audio_buffer.clear")
    ended(conversation, 0, 500, interrupted=True)
    assert conversation.told()[before:] == [
        "output_audio_buffer.cleared",
        "conversation.item.truncated",
    ]
    item_id = conversation.events[-1]["item_id"]
    [retrieved] = conversation.ask("conversation.item.retrieve", item_id=item_id)
    assert retrieved["item"]["status"] == "incomplete"
    assert retrieved["item"]["content"][0]["transcript"] == "One two"
    await conversation.end()


async def test_a_client_never_hears_of_what_was_interrupted_before_its_turn_came() -> None:
    conversation, pieces = connected(), Pieces()
    conversation.call.say(pieces, text="First.")
    playback = conversation.call.say(SECOND, text="Second.")
    started(conversation)
    conversation.ask("response.cancel")
    ended(conversation, 0, 300, interrupted=True)
    ended(conversation, 1, 0, interrupted=True)
    assert len(conversation.all("response.created")) == 1
    assert len(conversation.all("output_audio_buffer.cleared")) == 1
    assert len(conversation.all("conversation.item.truncated")) == 1
    assert await playback == Played(0, interrupted=True)
    assert [item["content"][0]["transcript"] for item in conversation.call.items] == [""]
    await conversation.end()


async def test_what_nobody_began_to_hear_is_truncated_to_nothing_and_not_cleared() -> None:
    conversation = connected()
    conversation.call.say(SECOND, text="Hello.")
    before = len(conversation.events)
    conversation.ask("output_audio_buffer.clear")
    ended(conversation, 0, 0, interrupted=True)
    assert conversation.told()[before:] == ["conversation.item.truncated"]
    assert conversation.events[-1]["audio_end_ms"] == 0
    await conversation.end()


async def test_what_is_said_right_after_an_interruption_is_a_response_of_its_own() -> None:
    conversation, pieces = connected(), Pieces()
    conversation.call.say(pieces, text="First.")
    conversation.ask("response.cancel")
    conversation.call.say(FRAME, text="Second.")
    assert len(conversation.all("response.created")) == 1
    ended(conversation, 0, 0, interrupted=True)
    done = [event["response"]["status"] for event in conversation.all("response.done")]
    assert done == ["cancelled", "completed"]
    await conversation.end()


async def test_the_agents_own_interruption_is_no_turn_of_the_caller() -> None:
    conversation, pieces = connected(), Pieces()
    conversation.call.say(pieces, text="First.")
    conversation.call._stop_speaking("turn_detected")
    ended(conversation, 0, 0, interrupted=True)
    conversation.call.say(Pieces(), text="Second.")
    interrupting = asyncio.create_task(conversation.call.interrupt())
    await settled()
    ended(conversation, 1, 0, interrupted=True)
    await interrupting
    reasons = [
        event["response"]["status_details"]["reason"] for event in conversation.all("response.done")
    ]
    assert reasons == ["turn_detected", "client_cancelled"]
    await conversation.end()


async def test_a_stream_that_fails_is_a_failed_response() -> None:
    conversation, pieces = connected(), Pieces()
    playback = conversation.call.say(pieces, text="Hello.")
    pieces.give(FRAME)
    pieces.give(ConnectionError("the voice is gone"))
    await settled()
    [done] = conversation.all("response.done")
    assert done["response"]["status"] == "failed"
    assert done["response"]["status_details"]["type"] == "failed"
    started(conversation)
    ended(conversation, 0, 20, interrupted=False)
    assert conversation.told()[-1] == "output_audio_buffer.stopped"
    with pytest.raises(ConnectionError):
        await playback
    await conversation.end()


async def test_a_playout_that_nobody_knows_is_passed_over() -> None:
    conversation = connected()
    started(conversation, 7)
    ended(conversation, 7, 0, interrupted=True)
    conversation.call.say(FRAME)
    for _ in range(2):
        ended(conversation, 0, 20, interrupted=True)
    assert len(conversation.all("conversation.item.truncated")) == 1
    await conversation.end()


# The conversation.


def chain(conversation: Conversation) -> list[tuple[str, str | None]]:
    """Every item that was added, and the one before it."""
    added = conversation.all("conversation.item.added")
    return [(event["item"]["id"], event["previous_item_id"]) for event in added]


def message(text: str = "Hello.", **fields: object) -> dict[str, object]:
    """What a client writes."""
    content = [{"type": "input_text", "text": text}]
    return {"type": "message", "role": "user", "content": content, **fields}


async def test_items_are_a_chain_from_the_first_on() -> None:
    conversation = connected()
    conversation.call.say(FRAME, text="Hello.")
    conversation.ask("conversation.item.create", item=message(id="mine"))
    conversation.hear(SECOND)
    conversation.ask("input_audio_buffer.commit")
    conversation.call.say(FRAME, text="Bye.")
    links = chain(conversation)
    assert len(links) == 4
    assert links[0][1] is None
    assert [before for _, before in links[1:]] == [item for item, _ in links[:-1]]
    for event in conversation.all("conversation.item.done"):
        assert event["previous_item_id"] == dict(links)[event["item"]["id"]]
    [committed] = conversation.all("input_audio_buffer.committed")
    assert committed["previous_item_id"] == dict(links)[committed["item_id"]]
    await conversation.end()


async def test_a_client_puts_items_where_it_wants_them() -> None:
    listener = Listener()
    conversation = connected(listener)
    for name, previous in (("a", None), ("b", None), ("c", "a"), ("d", "root")):
        conversation.ask(
            "conversation.item.create", item=message(id=name), previous_item_id=previous
        )
    assert chain(conversation) == [("a", None), ("b", "a"), ("c", "a"), ("d", None)]
    assert [item["id"] for item in conversation.call.items] == ["d", "a", "c", "b"]
    conversation.call.say(FRAME)
    assert chain(conversation)[-1][1] == "b", "the last, not the latest"
    await conversation.end()
    created = [event.event["item"]["id"] for event in listener.all(Message)]
    assert created == ["a", "b", "c", "d"]


async def test_an_item_gets_an_id_a_status_and_loses_its_nulls() -> None:
    conversation = connected()
    item = message(id=None, status=None, object=None)
    added, done = conversation.ask("conversation.item.create", item=item)
    assert (added["type"], done["type"]) == ("conversation.item.added", "conversation.item.done")
    assert added["item"] == done["item"]
    assert added["item"]["id"].startswith("item_")
    assert (added["item"]["status"], added["item"]["object"]) == ("completed", "realtime.item")
    await conversation.end()


NO_TEXT = {"type": "message", "role": "user", "content": [{"type": "input_text"}]}


@pytest.mark.parametrize(
    ("event", "code", "param"),
    [
        ({"item": None}, "invalid_event", "item"),
        ({"item": {}}, "invalid_event", "item.type"),
        ({"item": {"type": "message"}}, "invalid_event", "item.role"),
        ({"item": message(role="robot")}, "invalid_event", "item.role"),
        ({"item": message(content="Hello.")}, "invalid_event", "item.content"),
        ({"item": message(content=["Hello."])}, "invalid_event", "item.content"),
        ({"item": NO_TEXT}, "invalid_event", "item.content.0.text"),
        ({"item": message(status="new")}, "invalid_event", "item.status"),
        ({"item": message(status=["completed"])}, "invalid_event", "item.status"),
        ({"item": message(id="")}, "invalid_event", "item.id"),
        ({"item": message(id="x" * 600)}, "invalid_event", "item.id"),
        ({"item": message(id="known")}, "item_exists", "item.id"),
        ({"item": message(), "previous_item_id": "none"}, "item_not_found", "previous_item_id"),
        ({"item": message(), "previous_item_id": 3}, "invalid_event", "previous_item_id"),
        ({"item": {"type": "function_call_output"}}, "invalid_event", "item.call_id"),
        (
            {"item": {"type": "function_call_output", "call_id": "c", "output": {}}},
            "invalid_event",
            "item.output",
        ),
    ],
)
async def test_an_item_that_cannot_be_is_refused(event: Told, code: str, param: str) -> None:
    conversation = connected()
    conversation.ask("conversation.item.create", item=message(id="known"))
    [refusal] = conversation.ask("conversation.item.create", event_id="evt", **event)
    assert refusal["error"] == {
        "type": "invalid_request_error",
        "code": code,
        "param": param,
        "message": refusal["error"]["message"],
        "event_id": "evt",
    }
    assert len(conversation.call.items) == 1
    await conversation.end()


async def test_items_are_given_back_as_they_are_until_they_are_deleted() -> None:
    listener = Listener()
    conversation = connected(listener)
    conversation.ask("conversation.item.create", item=message(id="mine"))
    [retrieved] = conversation.ask("conversation.item.retrieve", item_id="mine")
    assert retrieved["item"]["content"] == message()["content"]
    [deleted] = conversation.ask("conversation.item.delete", item_id="mine")
    assert deleted["item_id"] == "mine"
    for kind in ("retrieve", "delete"):
        [refusal] = conversation.ask(f"conversation.item.{kind}", item_id="mine", event_id="evt")
        assert (refusal["error"]["code"], refusal["error"]["param"]) == (
            "item_not_found",
            "item_id",
        )
        assert refusal["error"]["event_id"] == "evt"
    await conversation.end()
    kinds = [event.event["type"] for event in listener.all(Message)]
    assert kinds == ["conversation.item.create", "conversation.item.delete"]


async def test_a_transcript_of_the_agents_becomes_part_of_the_item() -> None:
    conversation = connected()
    conversation.hear(SECOND)
    conversation.ask("input_audio_buffer.commit")
    [committed] = conversation.all("input_audio_buffer.committed")
    item_id = committed["item_id"]
    conversation.call.send(
        {
            "type": "conversation.item.input_audio_transcription.completed",
            "item_id": item_id,
            "content_index": 0,
            "transcript": "Hello.",
            "usage": {"type": "duration", "seconds": 1},
        }
    )
    [retrieved] = conversation.ask("conversation.item.retrieve", item_id=item_id)
    assert retrieved["item"]["content"] == [{"type": "input_audio", "transcript": "Hello."}]
    await conversation.end()


async def test_an_item_that_is_being_made_is_not_deleted() -> None:
    conversation = connected()
    conversation.call.say(Pieces(), text="Hello.")
    [(item_id, _)] = chain(conversation)
    [refusal] = conversation.ask("conversation.item.delete", item_id=item_id)
    assert refusal["error"]["code"] == "item_in_progress"
    await conversation.end()


async def test_nothing_is_said_of_a_deleted_item_that_is_interrupted() -> None:
    conversation = connected()
    conversation.call.say(SECOND, text="Hello.")
    started(conversation)
    [(item_id, _)] = chain(conversation)
    conversation.ask("conversation.item.delete", item_id=item_id)
    conversation.ask("output_audio_buffer.clear")
    ended(conversation, 0, 500, interrupted=True)
    assert conversation.told()[-1] == "output_audio_buffer.cleared"
    await conversation.end()


async def test_a_client_says_how_much_it_heard() -> None:
    conversation = connected()
    conversation.call.say(SECOND, text="One two three four.")
    [(item_id, _)] = chain(conversation)
    ask = {"item_id": item_id, "content_index": 0}
    [truncated] = conversation.ask("conversation.item.truncate", **ask, audio_end_ms=500)
    assert truncated["type"] == "conversation.item.truncated"
    assert (truncated["item_id"], truncated["audio_end_ms"]) == (item_id, 500)
    item = conversation.call.item(item_id)
    assert item is not None
    assert (item["status"], item["content"][0]["transcript"]) == ("incomplete", "One two")
    # Where it really was, it may say more exactly, for all of the words are still known.
    conversation.ask("conversation.item.truncate", **ask, audio_end_ms=1000)
    assert conversation.call.items[0]["content"][0]["transcript"] == "One two three four."
    await conversation.end()


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"item_id": "none"}, "item_not_found", "item_id"),
        ({"item_id": 3}, "invalid_event", "item_id"),
        ({"item_id": "mine"}, "invalid_value", "item_id"),
        ({"content_index": 1}, "invalid_value", "content_index"),
        ({"content_index": -1}, "invalid_event", "content_index"),
        ({"audio_end_ms": 1100}, "invalid_value", "audio_end_ms"),
        ({"audio_end_ms": -1}, "invalid_event", "audio_end_ms"),
        ({"audio_end_ms": True}, "invalid_event", "audio_end_ms"),
        ({"audio_end_ms": 2**60}, "invalid_event", "audio_end_ms"),
        ({"audio_end_ms": None}, "invalid_event", "audio_end_ms"),
    ],
)
async def test_what_cannot_have_been_heard_is_refused(change: Told, code: str, param: str) -> None:
    conversation = connected()
    conversation.ask("conversation.item.create", item=message(id="mine"))
    conversation.call.say(SECOND, text="Hello.")
    item_id = chain(conversation)[-1][0]
    fields = {"item_id": item_id, "content_index": 0, "audio_end_ms": 100, "event_id": "evt"}
    [refusal] = conversation.ask("conversation.item.truncate", **(fields | change))
    error = refusal["error"]
    assert (error["code"], error["param"], error["event_id"]) == (code, param, "evt")
    await conversation.end()


# Asking for an answer.


async def test_an_agent_without_an_answer_gives_an_empty_one() -> None:
    conversation = connected()
    before = len(conversation.events)
    conversation.ask("response.create", event_id="evt")
    await settled()
    assert conversation.told()[before:] == ["response.created", "response.done"]
    assert conversation.events[-1]["response"]["status"] == "completed"
    assert conversation.events[-1]["response"]["output"] == []
    await conversation.end()


async def test_an_agent_that_answers_gives_no_other_answer() -> None:
    async def agent(call: Call) -> None:
        async for event in call:
            if isinstance(event, Message):
                call.say(FRAME, text="Yes.")

    conversation = connected(agent)
    conversation.ask("response.create")
    await settled()
    assert conversation.told()[1:] == [*CREATED, *DONE]
    await conversation.end()


async def test_an_agent_that_stops_listening_in_between_answers_too() -> None:
    async def agent(call: Call) -> None:
        while call.ended is None:
            async for event in call:
                if isinstance(event, Message):
                    break

    conversation = connected(agent)
    for number in range(3):
        conversation.ask("response.create")
        await settled()
        assert len(conversation.all("response.done")) == number + 1
    await conversation.end()


async def test_an_answer_while_another_is_made_is_refused_if_none_follows() -> None:
    conversation = connected()
    conversation.call.say(Pieces(), text="A long story.")
    conversation.ask("response.create", event_id="evt")
    await settled()
    [refusal] = conversation.all("error")
    assert refusal["error"]["code"] == "conversation_already_has_active_response"
    assert refusal["error"]["event_id"] == "evt"
    await conversation.end()


async def test_only_the_end_that_asked_is_refused() -> None:
    conversation, sideband = connected(), EventEnd()
    conversation.call.join(sideband)
    conversation.call.say(Pieces())
    conversation.call.receive(sideband, '{"type": "response.create", "event_id": "evt"}')
    await settled()
    assert conversation.all("error") == []
    assert [event["error"]["event_id"] for event in sideband.all("error")] == ["evt"]
    await conversation.end()


async def test_an_agent_that_never_listens_is_not_asked_without_end() -> None:
    async def deaf(call: Call) -> None:
        await asyncio.Event().wait()

    conversation = connected(deaf)
    for number in range(30):
        conversation.ask("response.create", event_id=f"evt {number}")
    refused = [event["error"] for event in conversation.all("error")]
    assert [error["event_id"] for error in refused] == [f"evt {n}" for n in range(20, 30)]
    assert {error["code"] for error in refused} == {"too_many_requests"}
    conversation.close()
    conversation.call.cancel()
    await conversation.over.wait()


@pytest.mark.parametrize("kind", ["response.cancel", "output_audio_buffer.clear"])
async def test_stopping_when_nothing_is_under_way(kind: str) -> None:
    conversation = connected()
    told = conversation.ask(kind, event_id="evt")
    if kind == "response.cancel":
        [refusal] = told
        assert refusal["error"]["code"] == "response_cancel_not_active"
        assert refusal["error"]["event_id"] == "evt"
    else:
        assert told == []
    await conversation.end()


async def test_only_the_response_that_is_named_is_cancelled() -> None:
    conversation = connected()
    conversation.call.say(SECOND)
    [refusal] = conversation.ask("response.cancel", response_id="resp_other")
    assert refusal["error"]["code"] == "response_cancel_not_active"
    assert ("flush", 1) not in conversation.engine.notes
    [created] = conversation.all("response.created")
    assert conversation.ask("response.cancel", response_id=created["response"]["id"]) == []
    assert ("flush", 1) in conversation.engine.notes
    await conversation.end()


async def test_cancel_and_clear_together_end_it_once() -> None:
    conversation = connected()
    conversation.call.say(Pieces(), text="Hello.")
    started(conversation)
    conversation.ask("response.cancel")
    conversation.ask("output_audio_buffer.clear")
    ended(conversation, 0, 100, interrupted=True)
    assert len(conversation.all("response.done")) == 1
    assert len(conversation.all("output_audio_buffer.cleared")) == 1
    assert conversation.all("error") == []
    await conversation.end()


# Tools.


class Asker:
    """An agent that asks for the weather when asked for an answer, and tells it."""

    def __init__(self, *, tell: bool = True) -> None:
        self.messages: list[str] = []
        self.outputs: list[str] = []
        self._tell = tell

    async def __call__(self, call: Call) -> None:
        async for event in call:
            if isinstance(event, Message):
                self.messages.append(event.event["type"])
                if event.event["type"] == "response.create":
                    self.outputs.append(await call.invoke("weather", {"city": "Ulm"}))
                    if self._tell:
                        call.say(FRAME, text=self.outputs[-1])


def output(call_id: str, text: str = "rain") -> dict[str, str]:
    """What a tool returns."""
    return {"type": "function_call_output", "call_id": call_id, "output": text}


async def test_a_tool_is_called_by_the_client_and_its_output_comes_back() -> None:
    agent = Asker()
    conversation = connected(agent, tools=TOOLS)
    conversation.ask("response.create")
    await settled()
    assert conversation.told()[1:] == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]
    [added], [done] = (
        conversation.all("response.output_item.added"),
        conversation.all("response.output_item.done"),
    )
    assert added["item"]["status"] == "in_progress", "it would be run twice"
    call = done["item"]
    assert (call["type"], call["status"], call["name"]) == ("function_call", "completed", "weather")
    assert json.loads(call["arguments"]) == {"city": "Ulm"}

    conversation.ask("conversation.item.create", item=output(call["call_id"]))
    before = len(conversation.events)
    conversation.ask("response.create")
    await settled()
    assert agent.outputs == ["rain"]
    assert conversation.told()[before:] == [*CREATED, *DONE], "not a second question"
    assert agent.messages == ["response.create", "conversation.item.create"]
    await conversation.end()


@pytest.mark.parametrize("tell", [True, False], ids=["tells", "is silent"])
@pytest.mark.parametrize("late", [True, False], ids=["late", "at once"])
async def test_whoever_asks_behind_a_tools_output_is_answered(tell: bool, late: bool) -> None:
    conversation = connected(Asker(tell=tell), tools=TOOLS)
    conversation.ask("response.create")
    await settled()
    call_id = conversation.all("response.output_item.done")[0]["item"]["call_id"]
    conversation.ask("conversation.item.create", item=output(call_id))
    if late:
        await settled()
    before = len(conversation.events)
    conversation.ask("response.create", event_id="evt")
    await settled()
    after = conversation.told()[before:]
    assert (after[0], after[-1]) == ("response.created", "response.done")
    assert conversation.all("error") == []
    await conversation.end()


async def test_a_question_after_a_tool_that_needed_no_answer_is_a_question() -> None:
    agent = Asker(tell=False)
    conversation = connected(agent, tools=TOOLS)
    conversation.ask("response.create")
    await settled()
    call_id = conversation.all("response.output_item.done")[0]["item"]["call_id"]
    conversation.ask("conversation.item.create", item=output(call_id))
    conversation.ask("conversation.item.create", item=message("And now?"))
    conversation.ask("response.create")
    await settled()
    assert agent.messages.count("response.create") == 2
    await conversation.end()


async def test_what_is_said_after_a_tool_that_needed_no_answer_is_a_question() -> None:
    asked: list[object] = []

    async def agent(call: Call) -> None:
        async for event in call:
            if isinstance(event, SpeechEnded):
                asked.append(event)
            elif isinstance(event, Message) and event.event["type"] == "response.create":
                await call.invoke("weather", {})

    conversation = connected(agent, tools=TOOLS)
    conversation.ask("response.create")
    await settled()
    call_id = conversation.all("response.output_item.done")[0]["item"]["call_id"]
    conversation.ask("conversation.item.create", item=output(call_id))
    conversation.hear(SECOND)
    conversation.ask("input_audio_buffer.commit")
    conversation.ask("response.create")
    await settled()
    assert len(asked) == 1
    await conversation.end()


async def test_two_tools_at_once_are_two_responses_and_no_further_question() -> None:
    messages: list[str] = []
    both: list[str] = []

    async def agent(call: Call) -> None:
        async for event in call:
            if isinstance(event, Message):
                messages.append(event.event["type"])
                if event.event["type"] == "response.create":
                    asked = (call.invoke("weather", {"n": n}) for n in range(2))
                    both.extend(await asyncio.gather(*asked))
                    call.say(FRAME, text="Both.")

    conversation = connected(agent, tools=TOOLS)
    conversation.ask("response.create")
    await settled()
    calls = [event["item"]["call_id"] for event in conversation.all("response.output_item.done")]
    for number, call_id in enumerate(calls):
        conversation.ask("conversation.item.create", item=output(call_id, str(number)))
        conversation.ask("response.create")
    await settled()
    assert both == ["0", "1"]
    assert messages.count("response.create") == 1
    assert len(conversation.all("response.created")) == 3
    await conversation.end()


async def test_an_output_that_nobody_waits_for_is_the_agents_to_see() -> None:
    listener = Listener()
    conversation = connected(listener, tools=TOOLS)
    conversation.ask("conversation.item.create", item=output("call_none"))
    conversation.ask("response.create")
    await conversation.end()
    kinds = [event.event["type"] for event in listener.all(Message)]
    assert kinds == ["conversation.item.create", "response.create"]


async def test_a_tool_that_the_client_does_not_have_cannot_be_called() -> None:
    conversation = connected(tools=TOOLS)
    with pytest.raises(BackendError, match="no tool 'rain'; it offers weather"):
        await conversation.call.invoke("rain", {})
    with pytest.raises(ValueError, match="JSON"):
        await conversation.call.invoke("weather", {"n": float("nan")})
    assert conversation.told() == ["session.created"]
    await conversation.end()


async def test_an_agent_that_gave_up_a_tool_is_not_disturbed_by_its_output() -> None:
    conversation = connected(tools=TOOLS)
    asking = asyncio.create_task(conversation.call.invoke("weather", {}))
    await settled()
    asking.cancel()
    await settled()
    call_id = conversation.all("response.output_item.done")[0]["item"]["call_id"]
    conversation.ask("conversation.item.create", item=output(call_id))
    conversation.ask("response.create")
    await settled()
    assert conversation.told()[-1] == "response.done"
    await conversation.end()


async def test_whoever_waits_when_the_call_ends_learns_it() -> None:
    conversation = Conversation(idle, terms=Terms(session={"tools": TOOLS}), early=True)
    call = conversation.call
    connecting = asyncio.create_task(call.connected())
    playback = call.say(SECOND)
    invoking = asyncio.create_task(call.invoke("weather", {}))
    await settled()
    conversation.close("setup_timeout")
    for waiting in (connecting, invoking):
        with pytest.raises(SessionClosed, match="setup_timeout"):
            await waiting
    with pytest.raises(SessionClosed):
        await call.invoke("weather", {})
    assert await playback == Played(0, interrupted=True)
    await conversation.over.wait()


# Every kind.


async def test_the_session_is_announced_before_anything_else() -> None:
    conversation = Conversation(idle, early=True)
    conversation.call.say(FRAME, text="Hello.")
    assert conversation.events == []
    conversation.connect()
    assert conversation.told()[0] == "session.created"
    assert conversation.told()[1] == "response.created"
    session = conversation.events[0]["session"]
    assert session["tracing"] is None, "the SDK reads it"
    await conversation.end()


async def test_what_waits_for_a_channel_is_bounded() -> None:
    conversation = Conversation(idle, early=True)
    for _ in range(1000):
        conversation.call.send({"type": "weather.changed"})
    conversation.connect()
    assert len(conversation.events) == 501
    await conversation.end()


async def test_an_agents_event_gets_an_id_unless_it_has_one() -> None:
    conversation = connected()
    conversation.call.send({"type": "weather.changed", "sky": "blue"})
    conversation.call.send({"type": "weather.changed", "event_id": "mine"})
    _, one, other = conversation.events
    assert one["event_id"].startswith("event_")
    assert (one["sky"], other["event_id"]) == ("blue", "mine")
    await conversation.end()


@pytest.mark.parametrize(
    ("event", "error"),
    [({"n": float("nan")}, ValueError), ({"n": float("inf")}, ValueError), ({"n": b""}, TypeError)],
)
async def test_an_agents_event_that_is_no_json_is_the_agents_error(
    event: Told, error: type[Exception]
) -> None:
    conversation = connected()
    with pytest.raises(error):
        conversation.call.send({"type": "weather.changed", **event})
    assert conversation.told() == ["session.created"]
    await conversation.end()


async def test_a_failure_of_ours_is_told_as_such() -> None:
    conversation = connected()
    conversation.call.fail("backend_lost", "it is gone", event_id="evt", param="item")
    error = conversation.events[-1]["error"]
    assert error == {
        "type": "server_error",
        "code": "backend_lost",
        "message": "it is gone",
        "param": "item",
        "event_id": "evt",
    }
    await conversation.end()


async def test_every_event_of_the_contract_is_one_that_we_send() -> None:
    settings = Settings(turns=TurnSettings(silence_duration_ms=50))
    conversation = Conversation(idle, settings, Terms(session={"tools": TOOLS}))
    sideband = EventEnd(wants_audio=True)
    conversation.connect()
    conversation.call.join(sideband)
    call = conversation.call
    conversation.ask("session.update", session={})
    conversation.report(Event.Message(1, ""))
    call._turns._begins(SpeechStarted(at_ms=0), "item_turn", can_interrupt=False)
    call._turns._ends(SpeechEnded(10, SECOND, "item_turn"), call._session.turn_detection)
    conversation.ask("input_audio_buffer.clear")
    call._turns._missed(5000)
    call.say(FRAME, text="Hello.")
    started(conversation)
    ended(conversation, 0, 20, interrupted=False)
    call.say(FRAME, text="Hello.")
    started(conversation, 1)
    ended(conversation, 1, 10, interrupted=True)
    conversation.ask("session.update", session={"output_modalities": ["text"]})
    call.say(FRAME, text="Hello.")
    asking = asyncio.create_task(call.invoke("weather", {}))
    await settled()
    conversation.ask("conversation.item.create", item=message(id="mine"))
    conversation.ask("conversation.item.retrieve", item_id="mine")
    conversation.ask("conversation.item.delete", item_id="mine")
    seen = {*sideband.types, *conversation.told()}
    await conversation.end()
    with pytest.raises(SessionClosed):
        await asking
    assert seen == REQUIRED.keys()
