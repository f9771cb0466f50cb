"""RTVI in Realtime events, and the other way round."""

from __future__ import annotations

from typing import Any

import pytest

from firsthop.backends.pipecat.rtvi import (
    Action,
    Fail,
    Interpreter,
    Speaking,
    ToBot,
    ToClient,
    Unsupported,
    Words,
)

Event = dict[str, Any]


class Between:
    """An interpreter, and what it said to whom."""

    def __init__(self) -> None:
        self.now_ms = 1000
        self.interpreter = Interpreter(lambda: self.now_ms, lambda: "item_before")

    def bot(self, kind: str, **data: object) -> list[Action]:
        """Say something as the bot; return what that means beside the message itself."""
        message = rtvi(kind, **data)
        first, *others = self.interpreter.from_bot(message)
        assert first == ToClient(message)
        return others

    def events(self, kind: str, **data: object) -> list[Event]:
        """Say something as the bot; return the Realtime events that it is."""
        told = [action for action in self.bot(kind, **data) if isinstance(action, ToClient)]
        return [dict(action.event) for action in told]

    def client(self, **event: object) -> list[Action]:
        """Say something as the client."""
        return self.interpreter.from_client(event)

    def write(self, *texts: str, role: str = "user") -> list[Action]:
        """Write something as a Realtime client."""
        parts = [{"type": "input_text", "text": text} for text in texts]
        item = {"type": "message", "role": role, "content": parts}
        return self.client(type="conversation.item.create", item=item)


def rtvi(kind: str, **data: object) -> Event:
    return {"label": "rtvi-ai", "type": kind, "data": data}


def told(actions: list[Action]) -> Event:
    """What the bot is told, as its type and data."""
    [action] = actions
    assert isinstance(action, ToBot)
    message = dict(action.message)
    assert message["label"] == "rtvi-ai" and isinstance(message["id"], str)
    return {"type": message["type"], **message["data"]}


# From the bot.


@pytest.mark.parametrize("data", [{"x": 1}, {}, None, "text", 5])
def test_messages_pass_as_they_are(data: object) -> None:
    message = {"label": "rtvi-ai", "type": "server-message", "data": data, "id": "7"}
    assert Between().interpreter.from_bot(message) == [ToClient(message)]


def test_a_turn_is_an_item() -> None:
    between = Between()
    [started] = between.events("user-started-speaking")
    item_id = started["item_id"]
    assert started == {
        "type": "input_audio_buffer.speech_started",
        "audio_start_ms": 1000,
        "item_id": item_id,
    }
    between.now_ms = 3000
    stopped, committed, added, done = between.events("user-stopped-speaking")
    assert stopped["type"] == "input_audio_buffer.speech_stopped"
    assert (stopped["audio_end_ms"], stopped["item_id"]) == (3000, item_id)
    assert committed["type"] == "input_audio_buffer.committed"
    assert (committed["previous_item_id"], committed["item_id"]) == ("item_before", item_id)
    assert [added["type"], done["type"]] == ["conversation.item.added", "conversation.item.done"]
    assert added["item"] == done["item"]
    assert added["item"]["id"] == item_id and added["item"]["role"] == "user"
    assert between.events("user-stopped-speaking") == []


@pytest.mark.parametrize("before", [True, False])
def test_a_transcript_follows_its_item(before: bool) -> None:
    between = Between()
    [started] = between.events("user-started-speaking")
    heard = {"text": "Hello.", "final": True, "user_id": "", "timestamp": ""}
    events = between.events("user-transcription", **heard) if before else []
    assert events == []
    between.now_ms = 3000
    events += between.events("user-stopped-speaking")
    events += [] if before else between.events("user-transcription", **heard)
    assert events[-1] == {
        "type": "conversation.item.input_audio_transcription.completed",
        "item_id": started["item_id"],
        "content_index": 0,
        "transcript": "Hello.",
        "usage": {"type": "duration", "seconds": 2.0},
    }
    kinds = [event["type"] for event in events]
    assert kinds.index("conversation.item.done") < len(kinds) - 1


def test_a_transcript_in_parts_grows() -> None:
    between = Between()
    between.bot("user-started-speaking")
    between.bot("user-stopped-speaking")
    between.bot("user-transcription", text="Hello.", final=True)
    assert between.events("user-transcription", text="Hello the", final=False) == []
    [completed] = between.events("user-transcription", text="There?", final=True)
    assert completed["transcript"] == "Hello. There?"


def test_a_transcript_without_a_turn_is_one() -> None:
    between = Between()
    for text in ("One.", "Two."):
        events = between.events("user-transcription", text=text, final=True)
        kinds = ["input_audio_buffer.committed", "conversation.item.added"]
        assert [event["type"] for event in events[:2]] == kinds
        assert events[-1]["transcript"] == text


def test_what_is_told_by_a_new_and_an_old_message_is_taken_once() -> None:
    between = Between()
    between.bot("user-started-speaking")
    between.bot("user-stopped-speaking")
    fields = {"text": "Hello.", "final": True}
    assert len(between.events("user-input", input_type="transcription", **fields)) == 1
    assert between.events("user-transcription", **fields) == []
    assert between.events("user-input", input_type="chat", **fields) == []

    assert between.bot("bot-output", text="Yes.", will_be_spoken=True) == [Words("Yes.")]
    assert between.bot("bot-tts-text", text="Yes.") == []


def test_an_older_bot_tells_its_words_one_by_one() -> None:
    between = Between()
    assert between.bot("bot-tts-text", text="Good") == [Words("Good")]
    assert between.bot("bot-tts-text", text="morning") == [Words("morning")]
    assert between.bot("bot-tts-text", text=" ") == []


def test_a_segment_is_told_once() -> None:
    between = Between()
    segment = {"text": "Good morning.", "segment_id": 5, "will_be_spoken": True}
    assert between.bot("bot-output", **segment, spoken_status="new") == [Words("Good morning.")]
    assert between.bot("bot-output", **segment, spoken_status="in-progress") == []
    assert between.bot("bot-output", **segment, spoken_status="completed") == []
    silent = {"text": "[a table]", "segment_id": 6, "will_be_spoken": False}
    assert between.bot("bot-output", **silent, spoken_status="new") == []


def test_a_bot_says_when_it_speaks() -> None:
    between = Between()
    assert between.bot("bot-started-speaking") == [Speaking(True)]
    assert between.bot("bot-stopped-speaking") == [Speaking(False)]


def test_an_error_reaches_each_client_as_it_knows_errors() -> None:
    between = Between()
    error = rtvi("error", error="the model is gone", fatal=False)
    assert between.interpreter.from_bot(error) == [Fail("backend_error", "the model is gone")]
    between.client(**rtvi("client-ready", version="2.2.0"))
    assert between.interpreter.from_bot(error) == [ToClient(error)]


@pytest.mark.parametrize(
    "kind",
    [
        "user-started-speaking",
        "user-stopped-speaking",
        "user-transcription",
        "user-input",
        "bot-output",
        "bot-tts-text",
        "error",
    ],
)
@pytest.mark.parametrize("data", [None, 5, [], {"text": 5, "final": True, "error": {}}])
def test_no_message_of_a_bot_raises(kind: str, data: object) -> None:
    message = {"label": "rtvi-ai", "type": kind, "data": data}
    assert Between().interpreter.from_bot(message)


# From the client.


def test_a_client_that_speaks_rtvi_is_passed_on_as_it_is() -> None:
    between = Between()
    message = rtvi("client-message", t="custom", d={"x": 1})
    assert between.client(**message) == [ToBot(message)]


def test_a_client_that_does_not_is_introduced() -> None:
    between = Between()
    ready = told(between.interpreter.introduce())
    assert ready["type"] == "client-ready" and ready["version"].startswith("2.")
    between.client(**rtvi("client-ready", version="2.2.0"))
    assert between.interpreter.introduce() == []


def test_what_is_written_is_sent_when_an_answer_is_wanted() -> None:
    between = Between()
    assert between.write("Hello.") == []
    assert between.write("Who", "are you?") == []
    sent = told(between.client(type="response.create"))
    assert sent == {
        "type": "send-text",
        "content": "Hello.\nWho\nare you?",
        "options": {"run_immediately": True, "audio_response": True},
    }


def test_what_is_written_is_known_before_the_next_turn() -> None:
    between = Between()
    between.write("My name is Ada.")
    [sent, _] = between.bot("user-started-speaking")
    assert told([sent])["content"] == "My name is Ada."
    assert told([sent])["options"]["run_immediately"] is False


def test_an_endless_letter_is_cut_short() -> None:
    between = Between()
    for number in range(1000):
        between.write(str(number))
    sent = told(between.client(type="response.create"))
    assert sent["content"].split("\n") == [str(number) for number in range(980, 1000)]


@pytest.mark.parametrize("kind", ["response.create", "input_audio_buffer.commit"])
def test_what_a_bot_cannot_be_told_is_an_error(kind: str) -> None:
    unsupported, fail = Between().client(type=kind, event_id="mine")
    assert unsupported == Unsupported()
    assert isinstance(fail, Fail)
    assert (fail.code, fail.event_id) == ("unsupported_by_backend", "mine")


def test_what_only_other_agents_know_is_left_out() -> None:
    assert Between().client(type="my.own.event") == [Unsupported()]
    assert Between().write("Be brief.", role="system")[0] == Unsupported()
    picture = {"type": "message", "role": "user", "content": [{"type": "input_image"}]}
    assert Between().client(type="conversation.item.create", item=picture)[0] == Unsupported()
