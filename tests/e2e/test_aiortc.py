"""aiortc as a caller: what holds for it does not hold by accident of one browser."""

from __future__ import annotations

import pytest

from e2e import network, sound
from e2e.network import HOST
from e2e.peer import Event, Peer
from e2e.processes import Edge


async def test_the_agent_plays_back_what_an_aiortc_client_said(edge: Edge, peer: Peer) -> None:
    sent_away = await network.quiet()
    process = await edge.dev()
    await peer.call(process.url)
    candidates = [line for line in peer.answer.splitlines() if line.startswith("a=candidate")]
    assert {tuple(line.split()[4:6]) for line in candidates} == {(HOST, str(edge.relay_port))}

    greeted = await peer.event("output_audio_buffer.stopped")
    greeting = peer.heard
    first, last = sound.audible(greeting)
    assert last - first > 5 * sound.RATE
    said = sound.speech(sound.SENTENCE)
    peer.microphone.say(said)
    await peer.event(
        "output_audio_buffer.stopped",
        lambda event: event["response_id"] != greeted["response_id"],
    )

    reply = peer.heard[len(greeting) :]
    sound.check_words(reply, said, sound.speech(sound.OTHER_SENTENCE))
    # Not a look-up, not a report to anybody: the local agent needs no network.
    await edge.stop()
    assert network.packets_sent_away() == sent_away


async def test_a_session_update_merges_into_the_session(edge: Edge, peer: Peer) -> None:
    process = await edge.dev("agents:silent")
    await peer.call(process.url)
    created = await peer.event("session.created")
    changes = {
        "type": "realtime",
        "instructions": "Be brief.",
        "audio": {"input": {"turn_detection": {"threshold": 0.7}}},
    }
    peer.send({"type": "session.update", "event_id": "one", "session": changes})
    updated = (await peer.event("session.updated"))["session"]
    assert updated["id"] == created["session"]["id"]
    assert updated["instructions"] == "Be brief."
    before = created["session"]["audio"]["input"]["turn_detection"]
    after = updated["audio"]["input"]["turn_detection"]
    assert after == before | {"threshold": 0.7}


async def test_a_channel_that_was_agreed_on_beforehand_needs_no_opening(edge: Edge) -> None:
    process = await edge.dev("agents:silent")
    async with Peer(channel_id=6) as peer:
        await peer.call(process.url)
        peer.send({"type": "conversation.item.retrieve", "item_id": "none"})
        assert (await peer.event("error"))["error"]["type"] == "invalid_request_error"


BAD_MESSAGES = {
    "no JSON": ("hello", "invalid_json"),
    "half an object": ('{"type": "session.upd', "invalid_json"),
    "too deep": ("[" * 50_000, "invalid_json"),
    "empty": ("", "invalid_json"),
    "a list": ("[1, 2]", "invalid_event"),
    "a number": ("7", "invalid_event"),
    "null": ("null", "invalid_event"),
    "no type": ('{"event_id": "e"}', "invalid_event"),
    "a type that is no string": ('{"type": 7, "event_id": "e"}', "invalid_event"),
    "a session that is no object": (
        '{"type": "session.update", "session": 7, "event_id": "e"}',
        "invalid_event",
    ),
    "a session that is missing": ('{"type": "session.update", "event_id": "e"}', "invalid_event"),
    "lone surrogates": ('{"type": "session.update", "session": "\\ud800"}', "invalid_event"),
}


async def test_messages_that_make_no_sense_get_an_error_and_the_call_lives(
    edge: Edge, peer: Peer
) -> None:
    process = await edge.dev("agents:silent")
    await peer.call(process.url)
    for number, (text, code) in enumerate(BAD_MESSAGES.values()):
        peer.send(text)
        await peer.round_trip(f"after {number}")
        error = errors(peer)[number]["error"]
        assert error["type"] == "invalid_request_error"
        assert error["code"] == code, text
        assert error["message"]
        assert error["event_id"] == ("e" if '"event_id"' in text else None)
    assert peer.state == "connected"


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"id": None, "audio": 7, "type": None}, "error"),
        ({"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}}, "session.updated"),
        ({"audio": {"input": {"turn_detection": None}}}, "session.updated"),
        ({"instructions": "\ud800"}, "session.updated"),
        ({"instructions": "x" * 60_000}, "session.updated"),
        ({"instructions": "x" * 70_000}, "error"),
    ],
    ids=["wrong types", "patient", "no turn detection", "lone surrogate", "long", "too long"],
)
async def test_an_update_of_any_shape_leaves_the_call_alive(
    edge: Edge, peer: Peer, changes: dict[str, object], answer: str
) -> None:
    process = await edge.dev("agents:silent")
    await peer.call(process.url)
    peer.send({"type": "session.update", "event_id": "e", "session": changes})
    told = await peer.event(answer)
    assert answer != "error" or told["error"]["event_id"] == "e"
    await peer.round_trip("still here")


async def test_a_burst_of_messages_arrives_whole_and_in_order(edge: Edge, peer: Peer) -> None:
    process = await edge.dev("agents:silent")
    await peer.call(process.url)
    for number in range(99):
        peer.send({"type": "test.word", "word": number, "filling": "x" * 500})
    await peer.round_trip("last")
    words = [event["event"]["word"] for event in peer.events if event["type"] == "mirror.message"]
    assert words == [*range(99), "last"]


async def test_events_carry_ids_of_their_own(edge: Edge, peer: Peer) -> None:
    process = await edge.dev()
    await peer.call(process.url)
    done = await peer.event("response.done")
    assert done["response"]["status"] == "completed", "it is made; now it is heard"
    [item] = done["response"]["output"]
    await peer.event("output_audio_buffer.started")
    peer.send({"type": "response.cancel"})
    cleared = await peer.event("output_audio_buffer.cleared")
    assert cleared["response_id"] == done["response"]["id"]
    truncated = await peer.event("conversation.item.truncated")
    assert truncated["item_id"] == item["id"]
    peer.send({"type": "conversation.item.retrieve", "item_id": item["id"]})
    heard = (await peer.event("conversation.item.retrieved"))["item"]
    assert heard["status"] == "incomplete"
    transcript = item["content"][0]["transcript"]
    assert transcript.startswith(heard["content"][0]["transcript"])
    assert len(heard["content"][0]["transcript"]) < len(transcript)
    ids = [event["event_id"] for event in peer.events]
    assert len(set(ids)) == len(ids)


def errors(peer: Peer) -> list[Event]:
    return [event for event in peer.events if event["type"] == "error"]
