"""A call whose only line is a WebSocket: sound in events both ways."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soxr

from calls.conversation import (
    FRAME,
    RATE,
    SECOND,
    Conversation,
    EventEnd,
    Listener,
    idle,
    settled,
    until,
)
from calls.test_contract import CREATED, DONE, TOOLS, Pieces
from firsthop.call import AudioFrame, Call, Message, Played, SpeechEnded
from firsthop.calls.terms import Terms
from firsthop.errors import SessionClosed
from firsthop.realtime.sound import RATES, Encoder, _table
from speech.sentence import silence, spoken

Samples = npt.NDArray[np.int16]
KINDS = list(RATES)
#: How much weaker than the sound what was changed of it is: G.711 has 38 dB of its own.
NOISE = {"audio/pcm": 1000, "audio/pcmu": 50, "audio/pcma": 50}


def session(kind: str = "audio/pcm", **more: Any) -> Terms:
    """A session whose sound is of one kind, with push-to-talk."""
    form = {"type": kind}
    audio = {"input": {"format": form, "turn_detection": None}, "output": {"format": form}}
    return Terms(session={"audio": audio, **more})


def by_socket(agent: Any = idle, terms: Terms | None = None, **traits: Any) -> Conversation:
    """A call by socket that has been greeted."""
    socket = EventEnd(wants_audio=True)
    conversation = Conversation(agent, terms=terms or session(), socket=socket, **traits)
    conversation.connect()
    return conversation


def append(conversation: Conversation, sound: bytes) -> None:
    """Have the client send sound."""
    conversation.ask("input_audio_buffer.append", audio=base64.b64encode(sound).decode())


async def heard(conversation: Conversation) -> None:
    """Wait until all that was sent was heard."""
    await until(lambda: not conversation.call._reception._intake._waiting)


def tone(hz: float, seconds: float, rate: int) -> bytes:
    """A tone."""
    time = np.arange(round(seconds * rate)) / rate
    sound: bytes = (12_000 * np.sin(2 * np.pi * hz * time)).astype("<i2").tobytes()
    return sound


def encoded(pcm: bytes, rate: int, kind: str) -> bytes:
    """PCM as a client sends it."""
    return b"".join(base64.b64decode(text) for text in Encoder(rate, kind).encode(pcm, last=True))


def decoded(sound: bytes, kind: str) -> Samples:
    """What a client makes of the sound that it gets."""
    if kind == "audio/pcm":
        return np.frombuffer(sound, dtype="<i2")
    return _table(kind)[np.frombuffer(sound, dtype=np.uint8)]


def said(conversation: Conversation) -> bytes:
    """The sound that the client got."""
    deltas = conversation.all("response.output_audio.delta")
    return b"".join(base64.b64decode(event["delta"]) for event in deltas)


def strength(samples: Samples) -> float:
    """The root of the mean square."""
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut", [1, 7, 480, 48_001])
async def test_what_a_client_sends_is_heard_however_it_is_cut(kind: str, cut: int) -> None:
    listener = Listener()
    conversation = by_socket(listener, session(kind))
    sound = encoded(tone(440, 0.2 if cut < 100 else 2, RATE), RATE, kind)
    for at in range(0, len(sound), cut):
        append(conversation, sound[at : at + cut])
        if at % (100 * cut) == 0:
            await heard(conversation)
    await heard(conversation)
    conversation.ask("input_audio_buffer.commit")
    await settled()
    frames = listener.all(AudioFrame)
    pcm = np.frombuffer(b"".join(frame.pcm for frame in frames), dtype="<i2")
    expected = decoded(sound, kind)
    assert abs(len(pcm) - len(expected) * RATE / RATES[kind]) <= 1
    assert strength(pcm[320:]) == pytest.approx(12_000 / np.sqrt(2), rel=0.05)
    assert all(len(frame.pcm) <= 3200 for frame in frames)
    assert conversation.all("error") == []
    await conversation.end()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("streamed", [False, True])
async def test_what_an_agent_says_reaches_the_client_whole(kind: str, streamed: bool) -> None:
    conversation = by_socket(terms=session(kind))
    pcm = tone(440, 2.3, RATE)
    if streamed:
        pieces = Pieces()
        conversation.call.say(pieces)
        for at in range(0, len(pcm), 1501):
            pieces.give(pcm[at : at + 1501])
        pieces.give(None)
        await until(lambda: conversation.all("response.done"))
    else:
        conversation.call.say(pcm)
    got = decoded(said(conversation), kind)
    expected = soxr.resample(np.frombuffer(pcm, dtype="<i2"), RATE, RATES[kind], quality="LQ")
    assert abs(len(got) - len(expected)) <= 1
    size = min(len(got), len(expected))
    error = got[:size].astype(np.float64) - expected[:size]

    assert strength(error.astype(np.int16)) < strength(expected) / NOISE[kind]
    types = [kind for kind in conversation.told() if kind != "response.output_audio.delta"]
    assert types[1:] == [kind for kind in (*CREATED, *DONE) if "transcript.delta" not in kind]
    order = conversation.told()
    assert order.index("response.content_part.added") < order.index("response.output_audio.delta")
    last = len(order) - 1 - order[::-1].index("response.output_audio.delta")
    assert last < order.index("response.output_audio.done")
    deltas = conversation.all("response.output_audio.delta")
    assert max(len(event["delta"]) for event in deltas) < 64 * 1024
    await conversation.end()


async def test_a_socket_hears_nothing_of_a_playout_that_is_its_own() -> None:
    conversation = by_socket()
    assert await conversation.call.say(FRAME) == Played(20, interrupted=False)
    assert not [kind for kind in conversation.told() if kind.startswith("output_audio_buffer.")]
    await conversation.end()


async def test_sound_of_a_response_follows_its_announcement() -> None:
    conversation, pieces = by_socket(), Pieces()
    conversation.call.say(pieces)
    conversation.call.say(SECOND)
    pieces.give(FRAME)
    pieces.give(None)
    await settled()
    open_response = None
    for event in conversation.events:
        match event["type"]:
            case "response.created":
                open_response = event["response"]["id"]
            case "response.output_audio.delta":
                assert event["response_id"] == open_response
            case "response.done":
                open_response = None
    lengths = {event["response_id"]: 0 for event in conversation.all("response.output_audio.delta")}
    assert len(lengths) == 2
    await conversation.end()


async def test_events_behind_a_long_append_wait_until_it_was_heard() -> None:
    listener = Listener()
    conversation = by_socket(listener)
    append(conversation, tone(440, 10, 24_000))
    assert conversation.ask("input_audio_buffer.commit") == []
    assert conversation.ask("response.create") == []
    await until(lambda: conversation.all("response.done"))
    [turn] = listener.all(SpeechEnded)
    assert abs(len(turn.audio) // 2 - 10 * RATE) <= 1
    await conversation.end()


async def test_each_append_is_of_the_format_that_held_when_it_was_sent() -> None:
    listener = Listener()
    conversation = by_socket(listener)
    append(conversation, tone(440, 1, 24_000))
    form = {"audio": {"input": {"format": {"type": "audio/pcmu"}}}}
    conversation.ask("session.update", session=form)
    append(conversation, encoded(tone(440, 1, RATE), RATE, "audio/pcmu"))
    conversation.ask("input_audio_buffer.commit")
    await heard(conversation)
    await settled()
    pcm = b"".join(frame.pcm for frame in listener.all(AudioFrame))
    assert abs(len(pcm) // 2 - 2 * RATE) <= 2
    assert strength(np.frombuffer(pcm, "<i2")) == pytest.approx(12_000 / np.sqrt(2), rel=0.05)
    await conversation.end()


@pytest.mark.parametrize(
    ("audio", "code"),
    [
        (None, "invalid_event"),
        (7, "invalid_event"),
        ("?", "invalid_audio"),
        ("AAA", "invalid_audio"),
    ],
)
async def test_an_append_without_sound_is_refused(audio: object, code: str) -> None:
    conversation = by_socket()
    conversation.ask("input_audio_buffer.append", audio=audio, event_id="evt")
    await settled()
    [refusal] = conversation.all("error")
    assert (refusal["error"]["code"], refusal["error"]["param"]) == (code, "audio")
    assert refusal["error"]["event_id"] == "evt"
    await conversation.end()


async def test_more_than_the_contract_allows_is_refused() -> None:
    conversation = by_socket()
    conversation.ask("input_audio_buffer.append", audio="A" * (15 * 1024 * 1024 + 4))
    conversation.ask("input_audio_buffer.append", audio="A" * (15 * 1024 * 1024))
    conversation.ask("input_audio_buffer.append", audio="A" * (15 * 1024 * 1024))
    codes = [event["error"]["code"] for event in conversation.all("error")]
    assert codes == ["input_audio_buffer_full"]
    await asyncio.sleep(0)
    codes = [event["error"]["code"] for event in conversation.all("error")]
    assert codes == ["input_audio_buffer_full", "audio_too_long"]
    await conversation.end()


async def test_speech_interrupts_and_the_client_says_how_far_it_came() -> None:
    agent_played: list[Played] = []

    async def agent(call: Call) -> None:
        async for event in call:
            if isinstance(event, Message) and event.event["type"] == "response.create":
                agent_played.append(await call.say(SECOND * 60, text="A long story. " * 40))

    terms = Terms(session={"audio": {"input": {"format": {"type": "audio/pcm"}}}})
    conversation = by_socket(agent, terms)
    conversation.ask("response.create")
    await settled()
    [created] = conversation.all("response.created")
    assert conversation.told()[-1] == "response.done"
    speech = silence(500, 24_000) + await spoken(24_000)
    append(conversation, speech)
    await until(lambda: agent_played)
    await heard(conversation)
    [played] = agent_played
    assert played.interrupted
    assert played.ms < 60_000
    assert len(conversation.all("input_audio_buffer.speech_started")) == 1
    assert conversation.all("conversation.item.truncated") == [], "the client knows better"
    item_id = conversation.all("response.done")[0]["response"]["output"][0]["id"]
    [truncated] = conversation.ask(
        "conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=3000
    )
    assert truncated["audio_end_ms"] == 3000
    item = conversation.call.item(item_id)
    assert item is not None
    assert item["status"] == "incomplete"
    assert 10 < len(item["content"][0]["transcript"]) < 100
    assert created["response"]["id"]
    await conversation.end()


async def test_cancelling_ends_what_is_made() -> None:
    conversation, pieces = by_socket(), Pieces()
    conversation.call.say(pieces, text="A long story.")
    pieces.give(SECOND)
    await settled()
    conversation.ask("response.cancel")
    await settled()
    [done] = conversation.all("response.done")
    assert done["response"]["status"] == "cancelled"
    before = len(conversation.events)
    pieces.give(SECOND)
    await settled()
    assert len(conversation.events) == before, "no more sound of it"
    await conversation.end()


async def test_the_call_ends_when_the_caller_leaves_and_whoever_waits_learns_it() -> None:
    ends: list[str] = []

    async def agent(call: Call) -> None:
        try:
            await call.invoke("weather", {})
        except SessionClosed as closed:
            ends.append(closed.reason)

    conversation = by_socket(agent, session(tools=TOOLS))
    assert conversation.socket is not None
    sideband = EventEnd()
    conversation.call.join(sideband)
    playback = conversation.call.say(SECOND * 60)
    await settled()
    conversation.call.leave(conversation.socket)
    await conversation.over.wait()
    assert ends == ["hung_up"]
    assert (await playback).interrupted
    assert sideband.closed
    assert not conversation.socket.closed, "it has left by itself"


async def test_a_realtime_servers_sound_reaches_the_client_where_it_belongs() -> None:
    conversation = by_socket(realtime=True)
    call = conversation.call
    response = {"object": "realtime.response", "id": "resp_1", "output": []}
    call.send({"type": "response.created", "response": response})
    playback = call.play(tone(440, 1, RATE), response_id="resp_1", item_id="i", output_index=2)
    deltas = conversation.all("response.output_audio.delta")
    places = {
        (event["response_id"], event["item_id"], event["output_index"], event["content_index"])
        for event in deltas
    }
    assert places == {("resp_1", "i", 2, 0)}
    assert len(said(conversation)) == 48_000
    await call.interrupt()
    assert (await playback).interrupted
    await conversation.end()


async def test_nothing_is_kept_for_a_data_channel_that_does_not_exist() -> None:
    conversation = by_socket()
    conversation.call.say(FRAME)
    assert not conversation.call._channel._waiting
    await conversation.end()
