"""Speech to text without keys: pocketsphinx, in processes of its own.

A turn has a worker to itself while it is heard, and the worker follows as it is spoken: the text is
there soon after its end. There are as many workers as there may be turns at the same time; turns
beyond that wait for one, and are heard as a whole then.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections import deque
from typing import Final

import numpy as np
import soxr
import structlog

from firsthop.agent.offline.worker import HEAD, MAX_FRAME
from firsthop.agent.offline.worker import RATE as WORKER_RATE
from firsthop.agent.stages import RATE, Hearing, StageError, Transcriber
from firsthop.errors import BackendError

log = structlog.get_logger()

#: Turns that wait for a worker.
_MAX_WAITING: Final = 32
#: How long a worker may take to load its models, and to finish a turn.
_START_SECONDS: Final = 60.0
_FINISH_SECONDS: Final = 20.0
#: Sound that may wait for a worker's pipe, in bytes; one that is so far behind is given up.
_MAX_BEHIND: Final = 4 * 1024 * 1024


class PocketsphinxTranscriber(Transcriber):
    """Hears English, and best what callers of the offline agent say.

    Args:
        workers: Processes at most; each takes a core while someone speaks, and 150 MB.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._room = workers or os.cpu_count() or 1
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._waiting: deque[asyncio.Future[_Worker]] = deque()

    async def prepare(self) -> None:
        """Start one worker."""
        try:
            self._idle.append(await _Worker.start())
        except StageError as error:
            raise BackendError(f"pocketsphinx does not start: {error}") from None

    async def close(self) -> None:
        """End all workers."""
        for waiting in self._waiting:
            waiting.cancel()
        await asyncio.gather(*(worker.stop() for worker in (*self._idle, *self._busy)))
        self._idle.clear()
        self._busy.clear()

    def listen(self, *, language: str | None = None, prompt: str | None = None) -> Hearing:
        """Begin to hear a turn. Which words are likely is settled, and the language English."""
        return _Turn(self)

    def take_idle(self) -> _Worker | None:
        """Take a worker that has nothing to do, if there is one."""
        while self._idle:
            worker = self._idle.pop()
            if worker.alive:
                self._busy.add(worker)
                return worker
        return None

    async def take(self) -> _Worker:
        """Take a worker: an idle one, a new one, or the next that is free.

        Raises:
            StageError: There is none, and will be none.
        """
        if (worker := self.take_idle()) is not None:
            return worker
        if len(self._busy) < self._room:
            self._room -= 1
            try:
                worker = await _Worker.start()
            finally:
                self._room += 1
            self._busy.add(worker)
            return worker
        if len(self._waiting) >= _MAX_WAITING:
            raise StageError("transcription_busy", "too many people speak at the same time")
        waiting: asyncio.Future[_Worker] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled():
                self.give_back(waiting.result())
            raise
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(waiting)

    def give_back(self, worker: _Worker) -> None:
        """Let the next one have a worker; one that is gone, is gone."""
        if worker not in self._busy:
            return
        while self._waiting and worker.alive:
            waiting = self._waiting.popleft()
            if not waiting.done():
                return waiting.set_result(worker)
        self._busy.discard(worker)
        if worker.alive:
            self._idle.append(worker)


class _Turn(Hearing):
    """One turn."""

    def __init__(self, pool: PocketsphinxTranscriber) -> None:
        self._pool = pool
        #: None while there was nothing to hear, and where no worker was free.
        self._worker: _Worker | None = None
        self._fed = False
        self._ended = False

    def feed(self, pcm: bytes) -> None:
        """Let a worker follow, if one is free when the turn begins."""
        if not self._fed:
            self._fed = True
            self._worker = self._pool.take_idle()
        if self._worker is not None:
            self._worker.hear(pcm)

    async def finish(self, audio: bytes) -> str:
        """Return what was said."""
        if self._worker is None:
            self._worker = await self._pool.take()
            self._worker.hear(audio)
        try:
            text = await self._worker.finish()
        except BaseException:
            self._worker.forget()
            raise
        self._ended = True
        return text

    def abandon(self) -> None:
        """Give the worker back."""
        worker, self._worker = self._worker, None
        if worker is not None:
            if not self._ended:
                worker.forget()
            self._pool.give_back(worker)


class _Worker:
    """A process that hears one turn after the other."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._input = process.stdin
        self._output = process.stdout
        self._resampler = _resampler()
        #: Answers to turns that nobody waits for any more.
        self._unwanted = 0

    @classmethod
    async def start(cls) -> _Worker:
        """Start a process, and wait until it is ready.

        Raises:
            StageError: It is not.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "firsthop.agent.offline.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # Ctrl-C is for the service, which ends its workers.
            start_new_session=True,
        )
        worker = cls(process)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await worker._answer()
        except BaseException as error:
            await worker.stop()
            if isinstance(error, TimeoutError):
                raise _gone() from None
            raise
        return worker

    @property
    def alive(self) -> bool:
        """Whether it can be used."""
        return self._process.returncode is None and not self._input.is_closing()

    def hear(self, pcm: bytes) -> None:
        """Take sound, PCM16LE, mono, at `RATE`."""
        samples = np.frombuffer(pcm, dtype="<i2")
        self._send(b"A", self._resampler.resample_chunk(samples).astype("<i2").tobytes())

    async def finish(self) -> str:
        """End the turn; return what was said.

        Raises:
            StageError: The process has gone, or does not answer.
        """
        rest = self._resampler.resample_chunk(np.empty(0, dtype=np.int16), last=True)
        self._resampler = _resampler()
        self._send(b"A", rest.astype("<i2").tobytes())
        self._send(b"E")
        self._unwanted += 1
        try:
            async with asyncio.timeout(_FINISH_SECONDS):
                while True:
                    text = await self._answer()
                    self._unwanted -= 1
                    if not self._unwanted:
                        return text
        except TimeoutError:
            self._kill()
            raise _gone() from None

    def forget(self) -> None:
        """Forget the turn."""
        self._resampler = _resampler()
        self._send(b"R")

    async def stop(self) -> None:
        """End it."""
        self._kill()
        await self._process.wait()
        self._input.close()

    def _send(self, kind: bytes, rest: bytes = b"") -> None:
        if not self.alive or len(rest) > MAX_FRAME:
            return
        if self._input.transport.get_write_buffer_size() > _MAX_BEHIND:
            log.warning("transcription.behind")
            return self._kill()
        self._input.write(HEAD.pack(kind, len(rest)) + rest)

    async def _answer(self) -> str:
        try:
            _, length = HEAD.unpack(await self._output.readexactly(HEAD.size))
            return (await self._output.readexactly(length)).decode()
        except asyncio.IncompleteReadError:
            raise _gone() from None

    def _kill(self) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()


def _resampler() -> soxr.ResampleStream:
    return soxr.ResampleStream(RATE, WORKER_RATE, 1, dtype="int16")


def _gone() -> StageError:
    return StageError("transcription_failed", "the speech recognition stopped working")
