"""Hears without keys: pocketsphinx, in processes of its own, while the caller still speaks."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import Any, Final

import numpy as np
import soxr

from firsthop.agent.offline import worker
from firsthop.agent.offline.process import RecogniserProcess
from firsthop.agent.stages import RATE, Hearing, StageError, Transcriber
from firsthop.errors import BackendError
from firsthop.tasks import cancel

#: Turns that may wait until another is over.
_MAX_WAITING: Final = 16
#: What is heard of a turn, in bytes: a minute.
_MAX_TURN: Final = 2 * RATE * 60
#: How long a transcript may take after the turn's end, in seconds.
_PATIENCE_SECONDS: Final = 30


class PocketsphinxTranscriber(Transcriber):
    """Recognises English: what the offline model understands well, other speech with many errors.

    Args:
        workers: Processes at most, each for one turn at a time; None: one per core. The first is
            started by `prepare`, others when they are needed. Each takes about 150 MB, and half a
            core while someone speaks.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._most = workers or os.cpu_count() or 1
        self._all: set[RecogniserProcess] = set()
        self._idle: list[RecogniserProcess] = []
        self._waiting: deque[asyncio.Future[RecogniserProcess]] = deque()
        self._starting: set[asyncio.Task[None]] = set()
        self._ending: set[asyncio.Task[None]] = set()

    async def prepare(self) -> None:
        """Start a process.

        Raises:
            BackendError: It does not work.
        """
        if self._all:
            return
        try:
            process = await RecogniserProcess.start()
        except StageError as error:
            raise BackendError(
                f"{error}: reinstall firsthop, which brings pocketsphinx, or set "
                "agent.transcription.url"
            ) from None
        self._all.add(process)
        self._offer(process)

    async def close(self) -> None:
        """End all processes."""
        for future in self._waiting:
            future.cancel()
        self._waiting.clear()
        for process in list(self._all):
            self._end(process)
        await cancel(*self._starting)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def listen(self, *, language: str | None = None, prompt: str | None = None) -> Hearing:
        """Begin to hear a turn. What is likely to be said is known already."""
        return _Turn(self, language)

    def take(self) -> asyncio.Future[RecogniserProcess] | None:
        """Ask for a process. Whoever gets it owes it to `give_back` or `discard`.

        Returns:
            None if too many wait.
        """
        waiting = sum(not future.done() for future in self._waiting)
        if waiting >= _MAX_WAITING:
            return None
        future: asyncio.Future[RecogniserProcess] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._serve()
        return future

    def give_back(self, process: RecogniserProcess) -> None:
        """Take a process back that has finished, or forgotten, its turn."""
        if process.alive and process in self._all:
            self._offer(process)
        else:
            self.discard(process)

    def discard(self, process: RecogniserProcess) -> None:
        """End a process that is busy with what nobody wants any more, or that does not work."""
        self._end(process)
        self._serve()

    def _offer(self, process: RecogniserProcess) -> None:
        self._idle.append(process)
        self._serve()

    def _serve(self) -> None:
        """Give those who wait what is idle, and start what is missing."""
        self._waiting = deque(future for future in self._waiting if not future.done())
        while self._waiting and self._idle:
            process = self._idle.pop()
            if process.alive:
                self._waiting.popleft().set_result(process)
            else:
                self._end(process)
        room = self._most - len(self._all) - len(self._starting)
        for _ in range(min(room, len(self._waiting) - len(self._starting))):
            task = asyncio.create_task(self._start(), name="speech recogniser")
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)

    async def _start(self) -> None:
        try:
            process = await RecogniserProcess.start()
        except StageError as error:
            # Not tried again for the same turn: what does not start now hardly does the next time.
            for future in self._waiting:
                if not future.done():
                    future.set_exception(error)
                    break
            return
        self._all.add(process)
        self._starting.discard(_current())
        self._offer(process)

    def _end(self, process: RecogniserProcess) -> None:
        if process not in self._all:
            return
        self._all.discard(process)
        if process in self._idle:
            self._idle.remove(process)
        process.kill()
        task = asyncio.create_task(process.wait(), name="end of a speech recogniser")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


class _Turn(Hearing):
    """One turn, in one process, which it has from its first sound on unless all are busy."""

    def __init__(self, transcriber: PocketsphinxTranscriber, language: str | None) -> None:
        self._transcriber = transcriber
        self._english = language is None or language.lower()[:2] == "en"
        # Of whole numbers soxr makes dither, another one for each turn, and what is just understood
        # the one time is not the next.
        self._resampler: Any = soxr.ResampleStream(RATE, worker.RATE, 1, "float32", quality="MQ")
        #: What was fed, in bytes; and of it what no process has yet.
        self._fed = 0
        self._kept: list[bytes] = []
        self._process = transcriber.take() if self._english else None
        #: Whether the process works on the end of the turn; whether all is over.
        self._finishing = False
        self._over = False

    def feed(self, pcm: bytes) -> None:
        """Take the next sound."""
        pcm = pcm[: max(0, _MAX_TURN - self._fed)]
        if self._over or self._finishing or self._process is None or not pcm:
            return
        self._fed += len(pcm)
        self._pass_on(self._resampled(pcm, last=False))

    async def finish(self, audio: bytes) -> str:
        """Return what was said.

        Raises:
            StageError: It is not in English, too many turns wait, or the process died.
        """
        if not self._english:
            raise StageError(
                "transcription_language",
                "only English is recognised offline: set agent.transcription.url",
            )
        if self._process is None:
            raise StageError("transcription_busy", "too many speak at the same time")
        if not self._fed:
            self.feed(audio)
        self._pass_on(self._resampled(b"", last=True))
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                process = await asyncio.shield(self._process)
                self._pass_on(b"")
                self._finishing = True
                text = await process.finish()
        except TimeoutError:
            self.abandon()
            raise StageError("transcription_timeout", "hearing the turn took too long") from None
        except BaseException:
            self.abandon()
            raise
        self._over = True
        self._transcriber.give_back(process)
        return text

    def abandon(self) -> None:
        """Give the process up, at once."""
        if self._over or self._process is None:
            return
        self._over = True
        self._kept.clear()
        if not self._process.done():
            self._process.cancel()
        elif not self._process.cancelled() and self._process.exception() is None:
            process = self._process.result()
            if self._finishing:
                self._transcriber.discard(process)
            else:
                process.forget()
                self._transcriber.give_back(process)

    def _resampled(self, pcm: bytes, *, last: bool) -> bytes:
        samples = np.frombuffer(pcm[: len(pcm) // 2 * 2], "<i2").astype(np.float32)
        resampled = self._resampler.resample_chunk(samples, last=last)
        return bytes(resampled.round().clip(-32768, 32767).astype("<i2").tobytes())

    def _pass_on(self, pcm: bytes) -> None:
        self._kept.append(pcm)
        if self._process is None or not self._process.done():
            return
        if self._process.cancelled() or self._process.exception() is not None:
            return
        if sound := b"".join(self._kept):
            self._process.result().hear(sound)
        self._kept.clear()


def _current() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task
