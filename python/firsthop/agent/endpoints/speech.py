"""Speech synthesis behind ``/audio/speech``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final

from firsthop.agent.endpoints.endpoint import Answer, Endpoint, as_json
from firsthop.agent.endpoints.garbage import GarbageError
from firsthop.agent.endpoints.sound import Sound
from firsthop.agent.stages import Synthesiser
from firsthop.config import SpeechSettings

_PATH: Final = "/audio/speech"
#: Voices that the server did not know; others are asked for again.
_MAX_UNKNOWN: Final = 100


class EndpointSynthesiser(Synthesiser):
    """Asks an OpenAI-compatible endpoint.

    Args:
        settings: Where it is and what it is asked for.

    Raises:
        ConfigError: It has no URL.
    """

    def __init__(self, settings: SpeechSettings) -> None:
        self._endpoint = Endpoint("speech", settings)
        self._settings = settings
        self._unknown: set[str] = set()

    async def prepare(self) -> None:
        """Open a connection, if there is somebody to answer."""
        await self._endpoint.prepare()

    async def close(self) -> None:
        """Close all connections."""
        await self._endpoint.close()

    @asynccontextmanager
    async def speak(
        self, text: str, *, voice: str | None = None
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        """Say a sentence; see `Synthesiser.speak`. A voice that is refused gives way to its own."""
        own = self._settings.voice
        voices = [own]
        if voice is not None and voice != own and voice not in self._unknown:
            voices.insert(0, voice)
        requests = (as_json(self._body(text, each)) for each in voices)
        async with self._endpoint.post(_PATH, *requests) as answer:
            if answer.taken and voice is not None and len(self._unknown) < _MAX_UNKNOWN:
                self._unknown.add(voice)
            async with aclosing(self._sound(answer, text)) as sound:
                yield sound

    async def _sound(self, answer: Answer, text: str) -> AsyncGenerator[bytes]:
        settings = self._settings
        with self._endpoint.sense():
            sound = Sound(settings.format, settings.sample_rate, answer.content_type)
            heard = False
            async with aclosing(answer.parts()) as parts:
                async for part in parts:
                    if pcm := sound.feed(part):
                        heard = True
                        answer.advanced()
                        yield pcm
            if pcm := sound.finish():
                yield pcm
            elif not heard and any(map(str.isalnum, text)):
                raise GarbageError("answered without a sound")

    def _body(self, text: str, voice: str) -> dict[str, str]:
        return {
            "model": self._settings.model,
            "input": text,
            "voice": voice,
            "response_format": self._settings.format,
        }
