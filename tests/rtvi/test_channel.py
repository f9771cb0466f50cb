"""Calls whose client speaks RTVI: with an agent of ours, a Realtime server, and a Pipecat bot."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from calls.conversation import FRAME, Conversation, Listener, idle, until
from firsthop._native import Event
from firsthop.backends.base import Traits
from firsthop.call import Call, Message
from firsthop.calls import leaving
from firsthop.calls.ends import SendText
from firsthop.calls.terms import Terms
from firsthop.rtvi.channel import RtviChannel

READY = {"version": "2.1.0", "about": {"library": "test"}}


class Client:
    """A client of a call, and what its channel is told to do."""

    def __init__(self, agent: Any, *, events: frozenset[str] | None = None, **traits: Any) -> None:
        self.hung_up = 0
        self.over = 0
        terms = Terms(channel=self._channel, client_events=events)
        self.conversation = Conversation(agent, terms=terms, **traits)

    def _channel(self, send_text: SendText, traits: Traits) -> RtviChannel:
        self.channel = RtviChannel(send_text, traits, hang_up=self._hang_up, ended=self._end)
        return self.channel

    def _hang_up(self) -> None:
        self.hung_up += 1

    def _end(self) -> None:
        self.over += 1

    def say(self, text: str) -> list[dict[str, Any]]:
        """Send a message as it is; return what comes back at once."""
        before = len(self.conversation.engine.texts)
        self.conversation.report(Event.Message(1, text))
        return list(self.conversation.engine.texts[before:])

    def ask(self, kind: str, data: object = None, number: str = "1") -> list[dict[str, Any]]:
        """Send a message."""
        message = {"label": "rtvi-ai", "type": kind, "id": number, "data": data}
        return self.say(json.dumps(message))


def types(messages: list[dict[str, Any]]) -> list[str]:
    return [message["type"] for message in messages]


async def test_a_client_is_not_greeted_but_answered() -> None:
    client = Client(idle)
    client.conversation.connect()
    assert client.conversation.engine.texts == []
    [ready] = client.ask("client-ready", READY)
    assert (ready["type"], ready["id"]) == ("bot-ready", "1")
    assert client.say("ping: 1732190000000") == []
    assert client.say('{"type": "signalling", "message": {"type": "trackStatus"}}') == []
    assert types(client.say("nonsense")) == ["error"]
    await client.conversation.end()
    assert client.over == 1


async def test_words_and_their_answer_travel_through_a_call() -> None:
    async def agent(call: Call) -> None:
        async for event in call:
            if isinstance(event, Message) and event.event["type"] == "response.create":
                call.say(FRAME, text="You wrote it.")
                call.send({"type": "tea.served"})

    client = Client(agent)
    client.conversation.connect()
    client.ask("send-text", {"content": "Hello."})
    await until(lambda: "server-message" in types(client.conversation.engine.texts))
    await client.conversation.end()
    told = types(client.conversation.engine.texts)
    for kind in ("user-llm-text", "bot-llm-started", "bot-transcription", "bot-output"):
        assert kind in told
    assert client.conversation.engine.texts[-1] == {
        "label": "rtvi-ai",
        "type": "server-message",
        "data": {"type": "tea.served"},
    }
    assert all(message["label"] == "rtvi-ai" for message in client.conversation.engine.texts)


async def test_what_the_callers_terms_do_not_allow_is_refused_in_rtvi() -> None:
    client = Client(idle, events=frozenset({"response.create"}))
    client.conversation.connect()
    told = client.ask("send-text", {"content": "Hello."}, "8b")
    assert (told[0]["type"], told[0]["id"]) == ("error-response", "8b")
    assert "conversation.item.create" in told[0]["data"]["error"]
    await client.conversation.end()


async def test_the_applications_messages_reach_an_agent_but_no_realtime_server() -> None:
    listener = Listener()
    client = Client(listener)
    client.conversation.connect()
    assert client.ask("client-message", {"t": "order", "d": 42}) == []
    await client.conversation.end()
    [message] = listener.all(Message)
    assert message.event["data"] == {"t": "order", "d": 42}

    client = Client(idle, realtime=True)
    client.conversation.connect()
    assert types(client.ask("client-message", {"t": "order"})) == ["error-response"]
    await client.conversation.end()


async def test_a_bot_that_speaks_rtvi_has_the_clients_messages_as_they_are() -> None:
    listener = Listener()
    client = Client(listener, realtime=True, rtvi=True)
    client.conversation.connect()
    assert client.ask("client-ready", READY) == []
    assert client.ask("disconnect-bot", {}) == []
    assert client.say("ping: 1732190000000") == []
    assert client.hung_up == 0
    call = client.conversation.call
    own = {"label": "rtvi-ai", "type": "bot-ready", "id": "1", "data": {"version": "2.2.0"}}
    call.send(own)
    call.send({"type": "response.created", "response": {"id": "resp_1"}})
    call.fail("bot_gone", "The bot is away.")
    assert client.conversation.engine.texts == [
        own,
        {
            "label": "rtvi-ai",
            "type": "error",
            "data": {"error": "The bot is away.", "message": "The bot is away.", "fatal": False},
        },
    ]
    await client.conversation.end()
    asked = [message.event["type"] for message in listener.all(Message)]
    assert asked == ["client-ready", "disconnect-bot"]


async def test_a_client_that_sends_the_bot_away_is_told_that_it_is_gone() -> None:
    client = Client(idle)
    client.conversation.connect()
    gone = {"type": "signalling", "message": {"type": "peerLeft"}}
    assert client.ask("disconnect-bot", {}) == [gone]
    assert client.hung_up == 1
    client.channel.farewell()
    assert client.conversation.engine.texts == [gone], "once"
    await client.conversation.end()


async def test_a_client_that_has_gone_on_is_told_nothing_more() -> None:
    client = Client(idle)
    client.conversation.connect()
    client.channel.abandon()
    client.channel.farewell()
    assert client.ask("client-ready", READY) == []
    await client.conversation.end()
    assert client.conversation.engine.texts == []


@pytest.mark.parametrize("traits", [{}, {"realtime": True}, {"rtvi": True}], ids=str)
async def test_a_client_is_asked_to_go_on_elsewhere_whoever_answers(
    traits: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaving, "_QUIET_SECONDS", 0.0)
    client = Client(idle, **traits)
    client.conversation.connect()
    now = asyncio.get_running_loop().time()
    client.conversation.call.move_on(now + 60, now + 60, lambda terms, expires_at: "ek_secret")
    texts = client.conversation.engine.texts
    await until(lambda: texts)
    [asked] = texts
    assert (asked["label"], asked["type"]) == ("rtvi-ai", "server-message")
    assert asked["data"]["type"] == "firsthop.handover"
    assert asked["data"]["client_secret"]["value"] == "ek_secret"
    await client.conversation.end()
