"""The agent that comes along: greets, listens, and plays your own words back. Offline, no keys.

It understands nothing; it shows that the way there and back works, and how it feels.
"""

from __future__ import annotations

from firsthop.call import Call, SpeechEnded, SpeechStarted
from firsthop.speech import espeak

GREETING = (
    "Hello. You are talking to the local agent of first hop. "
    "Say something, and I will play it back to you. You can interrupt me at any time."
)
PREAMBLES = ("I heard this.", "You said.", "And this is what reached me.")
#: The shortest turn worth playing back; less is a cough.
_SHORTEST_MS = 250


class LocalBackend:
    """The built-in agent."""

    def __init__(self) -> None:
        self._voice = espeak.default_voice()

    async def prepare(self) -> None:
        """Check that there is a voice, and prepare its first words."""
        espeak.check()
        await self._voice.speak("Ready.", 16_000)

    async def serve(self, call: Call) -> None:
        """Greet, then answer every turn with itself."""
        call.say(await self._voice.speak(GREETING, call.sample_rate), text=GREETING)
        turns = 0
        started_ms = 0
        async for event in call:
            if isinstance(event, SpeechStarted):
                started_ms = event.at_ms
            if not isinstance(event, SpeechEnded):
                continue
            length_ms = event.at_ms - started_ms
            if length_ms < _SHORTEST_MS:
                continue
            preamble = PREAMBLES[turns % len(PREAMBLES)]
            turns += 1
            speech = await self._voice.speak(preamble, call.sample_rate)
            call.say(speech + event.audio, text=f"{preamble} ({length_ms / 1000:.1f} s of you)")
