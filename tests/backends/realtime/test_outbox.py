"""What waits to be sent."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

from firsthop.backends.realtime.actions import Append, ToServer
from firsthop.backends.realtime.outbox import Outbox


async def drained(outbox: Outbox, count: int) -> list[dict[str, Any]]:
    return [json.loads(await outbox.get()) for _ in range(count)]


def sound(event: dict[str, Any]) -> bytes:
    assert event["type"] == "input_audio_buffer.append"
    return base64.b64decode(event["audio"])


async def test_sound_and_events_keep_their_order() -> None:
    outbox = Outbox()
    outbox.put(Append(b"ab"))
    outbox.put(Append(b"cd"))
    outbox.put(ToServer({"type": "input_audio_buffer.commit"}))
    outbox.put(Append(b"ef"))
    first, commit, last = await drained(outbox, 3)
    assert (sound(first), sound(last)) == (b"abcd", b"ef")
    assert commit == {"type": "input_audio_buffer.commit"}
    assert outbox.sound == 0


async def test_whoever_waits_is_given_what_comes() -> None:
    outbox = Outbox()
    waiting = asyncio.create_task(drained(outbox, 1))
    await asyncio.sleep(0)
    outbox.put(Append(b"ab"))
    [event] = await waiting
    assert sound(event) == b"ab"


async def test_the_oldest_sound_goes_when_there_is_too_much() -> None:
    outbox = Outbox()
    outbox.put(ToServer({"type": "first"}))
    for second in range(7):
        outbox.put(Append(bytes([second]) * 48_000))
    assert outbox.sound == 5 * 48_000
    first, *rest = await drained(outbox, 6)
    assert first == {"type": "first"}
    assert b"".join(map(sound, rest)) == b"".join(bytes([n]) * 48_000 for n in range(2, 7))


async def test_events_have_a_limit() -> None:
    outbox = Outbox()
    taken = [outbox.put(ToServer({"type": "x"})) for _ in range(1001)]
    assert taken == [True] * 1000 + [False]


async def test_what_means_nothing_to_another_connection_is_dropped() -> None:
    outbox = Outbox()
    item = {"type": "conversation.item.create", "item": {}}
    for event in ({"type": "response.create", "event_id": "e"}, item, {"type": "response.cancel"}):
        outbox.put(ToServer(event))
    outbox.put(Append(b"ab"))
    dropped = outbox.disconnect()
    assert [event["type"] for event in dropped] == ["response.create", "response.cancel"]
    outbox.put_first([ToServer({"type": "session.update"}), ToServer({"type": "second"})])
    kinds = [event["type"] for event in await drained(outbox, 4)]
    assert kinds == ["session.update", "second", "conversation.item.create", kinds[-1]]
    assert outbox.disconnect() == []
