"""The agent that comes along: greets, listens, and plays your own words back. Offline, no keys.

It understands nothing; it shows that the way there and back works, and how it feels.
"""

from __future__ import annotations

import itertools

from firsthop.backends.base import Backend
from firsthop.call import Call, Message, SpeechEnded, SpeechStarted
from firsthop.speech import espeak

GREETING = (
    "Hello. You are talking to the local agent of first hop. "
    "Say something, and I will play it back to you. You can interrupt me at any time."
)
PREAMBLES = ("I heard this.", "You said.", "And this is what reached me.")
#: The shortest turn worth playing back; less is a cough.
_SHORTEST_MS = 250
#: How much of a text is read back, in characters.
_MOST_WORDS = 500


class LocalBackend(Backend):
    """The built-in agent."""

    def __init__(self) -> None:
        self._voice = espeak.default_voice()

    async def prepare(self) -> None:
        """Check that there is a voice, and prepare its first words."""
        espeak.check()
        await self._voice.speak("Ready.", 16_000)

    async def serve(self, call: Call) -> None:
        """Greet, then answer every turn, and every text, with itself."""
        call.say(await self._voice.speak(GREETING, call.sample_rate), text=GREETING)
        preambles = itertools.cycle(PREAMBLES)
        started_ms: int | None = None
        async for event in call:
            match event:
                case SpeechStarted():
                    started_ms = event.at_ms
                case SpeechEnded():
                    # With push-to-talk nobody hears where speech begins.
                    length_ms = len(event.audio) * 500 // call.sample_rate
                    if started_ms is not None:
                        length_ms, started_ms = event.at_ms - started_ms, None
                    if length_ms >= _SHORTEST_MS:
                        await self._play_back(call, next(preambles), event.audio, length_ms)
                case Message(event={"type": "response.create"}):
                    if words := _written(call):
                        text = f"You wrote: {words}"
                        call.say(await self._voice.speak(text, call.sample_rate), text=text)

    async def _play_back(self, call: Call, preamble: str, audio: bytes, length_ms: int) -> None:
        speech = await self._voice.speak(preamble, call.sample_rate)
        call.say(speech + audio, text=f"{preamble} ({length_ms / 1000:.1f} s of you)")


def _written(call: Call) -> str:
    """What the user wrote, if that was the last thing that came from the user."""
    messages = [item for item in call.items if item.get("role") == "user"]
    parts = messages[-1]["content"] if messages else []
    words = [part["text"] for part in parts if part.get("type") == "input_text"]
    return " ".join(words)[:_MOST_WORDS]
