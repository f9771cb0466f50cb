"""Speech recognition behind ``/audio/transcriptions``."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from firsthop.agent.endpoints.endpoint import Endpoint
from firsthop.agent.endpoints.garbage import FailedError, GarbageError
from firsthop.agent.stages import RATE, Hearing, Transcriber
from firsthop.config import TranscriptionSettings
from firsthop.speech import wav

_PATH: Final = "/audio/transcriptions"
_MAX_ANSWER: Final = 1024 * 1024
#: In less, nothing can be said, and endpoints refuse it.
_SHORTEST_BYTES: Final = RATE * 2 // 10


class EndpointTranscriber(Transcriber):
    """Asks an OpenAI-compatible endpoint, when a turn is over.

    Models of the Whisper kind make up words for silence, as "Thank you."; that is not hidden here.

    Args:
        settings: Where it is and what it is asked for.

    Raises:
        ConfigError: It has no URL.
    """

    def __init__(self, settings: TranscriptionSettings) -> None:
        self._endpoint = Endpoint("transcription", settings)
        self._settings = settings

    async def prepare(self) -> None:
        """Open a connection, if there is somebody to answer."""
        await self._endpoint.prepare()

    async def close(self) -> None:
        """Close all connections."""
        await self._endpoint.close()

    def listen(self, *, language: str | None = None, prompt: str | None = None) -> Hearing:
        """Begin to hear a turn. The setting for the language goes before the session's."""
        fields = {"model": self._settings.model, "response_format": "json"}
        if chosen := self._settings.language or language:
            fields["language"] = chosen
        if prompt:
            # What clients sent may have halves of surrogate pairs.
            fields["prompt"] = prompt.encode(errors="replace").decode()
        return _EndpointHearing(self._endpoint, fields)


class _EndpointHearing(Hearing):
    def __init__(self, endpoint: Endpoint, fields: dict[str, str]) -> None:
        self._endpoint = endpoint
        self._fields = fields
        self._abandoned = False
        self._asking: asyncio.Task[str] | None = None

    def feed(self, pcm: bytes) -> None:
        """Wait for the end: the endpoint takes whole turns."""

    async def finish(self, audio: bytes) -> str:
        """Return what was said; empty if nothing was, or if the turn was abandoned."""
        if self._abandoned or len(audio) < _SHORTEST_BYTES:
            return ""
        self._asking = asyncio.create_task(self._ask(audio))
        try:
            return await self._asking
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._abandoned and task is not None and not task.cancelling():
                return ""
            raise

    def abandon(self) -> None:
        """Ask no more."""
        self._abandoned = True
        if self._asking is not None:
            self._asking.cancel()

    async def _ask(self, audio: bytes) -> str:
        file = ("turn.wav", wav.header(RATE, len(audio)) + audio, "audio/wav")
        request: dict[str, Any] = {"data": self._fields, "files": {"file": file}}
        async with self._endpoint.post(_PATH, request) as answer:
            with self._endpoint.sense():
                return _transcript(await answer.whole(_MAX_ANSWER))


def _transcript(body: bytes) -> str:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict) and value.get("error"):
        raise FailedError
    text = value.get("text") if isinstance(value, dict) else None
    if not isinstance(text, str):
        raise GarbageError("answered with something that is no transcript")
    return text.strip()
