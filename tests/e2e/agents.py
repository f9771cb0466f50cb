"""Agents for the edge under test, as a user would write them: `--backend agents:mirror`."""

from __future__ import annotations

import itertools
import json
import math
import os
import struct
import time
from collections.abc import AsyncIterator, Iterable

from firsthop import OpusPacket, opus
from firsthop.call import (
    AudioFrame,
    Call,
    CallEvent,
    DigitPressed,
    Message,
    OpusPackets,
    SpeechEnded,
)
from firsthop.speech.espeak import default_voice

GREETING = "Good morning, this is the harbour office. How can I help you today?"
STORY = (
    "Long ago there was a lighthouse keeper who counted every ship that passed his rock. "
    "In spring he counted fishing boats, in summer the white sails of the merchants, and in "
    "autumn the heavy barges that brought coal down from the mountains. When winter came and no "
    "ship dared to leave the bay, he counted the waves instead, and wrote each number in a book."
)
BRIEF = "Very well, let us talk about something else then."
PARROT_GREETING = (
    "Hello. I am a parrot. Say something, and I will play it back to you. "
    "You can interrupt me at any time."
)
PREAMBLES = ("I heard this.", "You said.", "And this is what reached me.")


async def _reflect(call: Call, *, sound: bool) -> None:
    """Say what is heard if `sound`, answer messages and keys, and tell which process this is."""
    call.interruptible = False

    async def frames() -> AsyncIterator[bytes]:
        async for event in call:
            if isinstance(event, Message):
                call.send({"type": "mirror.message", "event": event.event, "pid": os.getpid()})
            elif isinstance(event, DigitPressed):
                call.send({"type": "mirror.digit", "digit": event.digit})
            elif sound and isinstance(event, AudioFrame):
                yield event.pcm

    await call.say(frames())


async def mirror(call: Call) -> None:
    """Send back sound and messages."""
    await _reflect(call, sound=True)


async def other_mirror(call: Call) -> None:
    """Do the same under another name."""
    await _reflect(call, sound=True)


async def witness(call: Call) -> None:
    """Send back sound and messages, and print in the end why it is the end."""
    await _reflect(call, sound=True)
    # What it says is over a moment before the call is.
    async for _ in call:
        pass
    print(json.dumps({"event": "witness.told", "reason": call.ended}), flush=True)


async def silent(call: Call) -> None:
    """Send back messages, and never say a word."""
    await _reflect(call, sound=False)


async def clerk(call: Call) -> None:
    """Greet, use the client's tools, tell a story, and then be brief: an answer at a time."""
    steps = itertools.chain(("greeting", "weather", "order", "story"), itertools.repeat("brief"))
    await _converse(call, steps)


async def receptionist(call: Call) -> None:
    """Greet, and then be brief."""
    await _converse(call, itertools.chain(("greeting",), itertools.repeat("brief")))


async def storyteller(call: Call) -> None:
    """Answer with a story, whatever was said."""
    await _converse(call, itertools.repeat("story"))


async def siren(call: Call) -> None:
    """Answer every turn with a steady tone, longer than anybody will listen."""
    tone = _tone(call.sample_rate, 30)
    async for event in call:
        if _wants_an_answer(event):
            call.say(tone)


def _tone(rate: int, seconds: int) -> bytes:
    period = [int(9000 * math.sin(math.tau * n / 40)) for n in range(40)]
    return struct.pack("<40h", *period) * (rate * seconds // 40)


async def sleeper(call: Call) -> None:
    """Hum for a minute, and hold up all of Python for half a second when it is told to.

    It then tells how much it has heard by now, and how often that did not follow what was before.
    """
    call.interruptible = False
    call.say(_tone(call.sample_rate, 60))
    heard_ms = jumps = 0
    async for event in call:
        if isinstance(event, AudioFrame):
            jumps += event.at_ms != heard_ms
            heard_ms = event.at_ms + len(event.pcm) * 500 // call.sample_rate
        elif isinstance(event, Message) and event.event["type"] == "test.sleep":
            # The very mistake: what else runs on this loop waits.
            time.sleep(0.5)  # noqa: ASYNC251
            call.send({"type": "test.slept", "heard_ms": heard_ms, "jumps": jumps})


@opus
async def bookkeeper(call: Call) -> None:
    """Say packets for two minutes, and keep the books of those that the caller says."""
    call.interruptible = False
    call.forward([OpusPacket(b"\xf8\xff\xfe")] * (120 * 50))
    heard = missing = misplaced = 0
    end_ms = 0.0
    async for event in call:
        if isinstance(event, OpusPackets):
            for packet in event.packets:
                heard, missing = heard + 1, missing + packet.missing
                misplaced += packet.at_ms < end_ms
                end_ms = packet.at_ms + packet.duration_ms
        elif isinstance(event, Message) and event.event["type"] == "test.books":
            books = {"heard": heard, "missing": missing, "misplaced": misplaced}
            call.send({"type": "test.books", **books})


async def _converse(call: Call, steps: Iterable[str]) -> None:
    """Answer turns with the next step, and text with itself."""
    step = iter(steps)
    written = ""
    async for event in call:
        if isinstance(event, Message) and event.event["type"] == "conversation.item.create":
            item = event.event["item"]
            written = item["content"][0]["text"] if item["type"] == "message" else ""
        elif _wants_an_answer(event):
            text = f"You wrote: {written}" if written else await _text(call, next(step))
            written = ""
            call.say(await default_voice().speak(text, call.sample_rate), text=text)


def _wants_an_answer(event: CallEvent) -> bool:
    asked = isinstance(event, Message) and event.event["type"] == "response.create"
    return asked or isinstance(event, SpeechEnded)


async def _text(call: Call, step: str) -> str:
    match step:
        case "weather":
            return await call.invoke("get_weather", {"city": "Lisbon"})
        case "order":
            return await call.invoke("find_order", {"number": 42})
        case _:
            return {"greeting": GREETING, "story": STORY}.get(step, BRIEF)


async def parrot(call: Call) -> None:
    """Greet, then answer every turn, and every text, with itself."""
    voice = default_voice()
    call.say(await voice.speak(PARROT_GREETING, call.sample_rate), text=PARROT_GREETING)
    preambles = itertools.cycle(PREAMBLES)
    async for event in call:
        match event:
            case SpeechEnded(audio=audio):
                preamble = next(preambles)
                call.say(await voice.speak(preamble, call.sample_rate) + audio, text=preamble)
            case Message(event={"type": "response.create"}):
                if words := _written(call):
                    text = f"You wrote: {words}"
                    call.say(await voice.speak(text, call.sample_rate), text=text)


async def archivist(call: Call) -> None:
    """Greet who comes anew, and answer each turn, and each text, with how many there were."""
    voice = default_voice()
    if not call.continued:
        call.say(await voice.speak("Welcome.", call.sample_rate), text="Welcome.")
    async for event in call:
        if _wants_an_answer(event):
            turns = sum(item.get("role") == "user" for item in call.items)
            text = f"That was turn number {turns}."
            call.say(await voice.speak(text, call.sample_rate), text=text)


async def butler(call: Call) -> None:
    """Tell a story until the client's tool is asked for, and answer what its application asks."""
    voice = default_voice()
    async for event in call:
        text = STORY
        match event:
            case SpeechEnded(item_id=item_id):
                about = {"item_id": item_id, "content_index": 0}
                kind = "conversation.item.input_audio_transcription"
                call.send({"type": f"{kind}.delta", **about, "delta": "Never"})
                call.send({"type": f"{kind}.completed", **about, "transcript": "Never mind."})
            case Message(event={"type": "client-message", "id": number, "data": {"t": kind}}):
                answer = {"t": kind, "d": {"butler": "James"}}
                reply = {"label": "rtvi-ai", "type": "server-response", "id": number}
                call.send({**reply, "data": answer})
                call.send({"type": "tea.served", "sugar": 2})
                continue
            case Message(event={"type": "response.create"}):
                if "weather" in _written(call):
                    text = await call.invoke("get_weather", {"city": "Lisbon"})
            case _:
                continue
        call.say(await voice.speak(text, call.sample_rate), text=text)


def _written(call: Call) -> str:
    """What the user wrote, if that was the last thing that came from the user."""
    messages = [item for item in call.items if item.get("role") == "user"]
    parts = messages[-1]["content"] if messages else []
    return " ".join(part["text"] for part in parts if part.get("type") == "input_text")
