"""What is heard of a caller, on its way to text, turn by turn.

A turn is given to the transcriber while it is still spoken. Its transcript is an event of its own,
and is made to its end even if nobody waits for it any more: what was said belongs to the history.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

import structlog

from firsthop.agent.stages import RATE, Hearing, StageError, Transcriber
from firsthop.agent.times import TurnTimes
from firsthop.call import Call, SpeechEnded
from firsthop.tasks import cancel

log = structlog.get_logger()

#: What is kept of the sound before a turn is noticed, in bytes: half a second.
_BEFORE: Final = RATE
#: How much more a turn may be than what was fed, in bytes, for what was fed to count: a second.
_MARGIN: Final = 2 * RATE
#: Turns whose transcripts are made at the same time. The oldest is given up for another.
_MAX_TURNS: Final = 4


class Ears:
    """Hears one caller.

    Args:
        call: The call.
        transcriber: Turns speech into text.
        language: What is spoken, unless the session says it.
    """

    def __init__(self, call: Call, transcriber: Transcriber, language: str | None) -> None:
        self._call = call
        self._transcriber = transcriber
        self._language = language
        self._recent: deque[bytes] = deque()
        self._recent_bytes = 0
        self._hearing: Hearing | None = None
        self._fed = 0
        self._turns: dict[str, asyncio.Task[str | None]] = {}

    def hear(self, pcm: bytes) -> None:
        """Take the caller's next sound."""
        self._recent.append(pcm)
        self._recent_bytes += len(pcm)
        while self._recent_bytes > _BEFORE:
            self._recent_bytes -= len(self._recent.popleft())
        self._feed(pcm)

    def begin(self) -> None:
        """A turn begins, if the sound tells."""
        self.forget()
        detection = self._call.session["audio"]["input"].get("turn_detection") or {}
        if detection.get("create_response", True):
            self._hearing = self._listen()
            for pcm in self._recent:
                self._feed(pcm)

    def end(self, turn: SpeechEnded, times: TurnTimes) -> asyncio.Task[str | None]:
        """A turn is over: let its transcript be made.

        Returns:
            What was said; None if that cannot be told, of which the client knows then.
        """
        hearing, fed = self._hearing, self._fed
        self._hearing, self._fed = None, 0
        if hearing is not None and len(turn.audio) > fed + _MARGIN:
            # It is several turns, of which only the last was fed.
            hearing.abandon()
            hearing = None
        if len(self._turns) >= _MAX_TURNS:
            self._turns.pop(next(iter(self._turns))).cancel()
        work = self._transcribe(hearing or self._listen(), turn, times)
        task = asyncio.create_task(work, name=f"transcript {self._call.id}")
        self._turns[turn.item_id] = task
        task.add_done_callback(lambda _: self._turns.pop(turn.item_id, None))
        return task

    async def settled(self) -> None:
        """Wait for the transcripts that are being made."""
        waiting = list(self._turns.values())
        if waiting:
            await asyncio.wait(waiting)

    def forget(self) -> None:
        """The turn that began is none."""
        if self._hearing is not None:
            self._hearing.abandon()
        self._hearing, self._fed = None, 0

    async def close(self) -> None:
        """Hear nothing more."""
        self.forget()
        await cancel(*self._turns.values())

    def _feed(self, pcm: bytes) -> None:
        if self._hearing is not None:
            self._hearing.feed(pcm)
            self._fed += len(pcm)

    def _listen(self) -> Hearing:
        wanted: dict[str, Any] = self._call.session["audio"]["input"].get("transcription") or {}
        language, prompt = wanted.get("language"), wanted.get("prompt")
        return self._transcriber.listen(
            language=language if isinstance(language, str) else self._language,
            prompt=prompt if isinstance(prompt, str) else None,
        )

    async def _transcribe(
        self, hearing: Hearing, turn: SpeechEnded, times: TurnTimes
    ) -> str | None:
        kind = "conversation.item.input_audio_transcription"
        where = {"item_id": turn.item_id, "content_index": 0}
        try:
            text = (await hearing.finish(turn.audio)).strip()
        except StageError as error:
            problem = {"type": "server_error", "code": error.code, "message": str(error)}
            self._call.send({"type": f"{kind}.failed", **where, "error": problem | {"param": None}})
            return None
        finally:
            hearing.abandon()
        times.reach("transcript")
        usage = {"type": "duration", "seconds": len(turn.audio) / 2 / RATE}
        event = {"type": f"{kind}.completed", **where, "transcript": text, "usage": usage}
        self._call.send(event)
        return text
