"""A process that recognises speech, from the side of those who use it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import Final, Self

from firsthop.agent.offline import worker
from firsthop.agent.stages import StageError

#: How long a process may take to load its models, in seconds. It takes one on a machine at rest.
_START_SECONDS: Final = 60


class RecogniserProcess:
    """One turn at a time: `hear` and then `finish`, or `forget`.

    Made by `start`; `kill` and `wait` end it.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._input = process.stdin
        self._output = process.stdout

    @classmethod
    async def start(cls) -> Self:
        """Start a process, and wait until its models are loaded.

        Raises:
            StageError: It does not work.
        """
        try:
            # Without the folder of the script in the path: its neighbours are no modules of it.
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                str(Path(worker.__file__)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            raise _failed("cannot be started") from error
        started = cls(process)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await started._text()
        except BaseException as error:
            started.kill()
            await started.wait()
            if isinstance(error, TimeoutError):
                raise _failed("takes too long to start") from None
            raise
        return started

    @property
    def alive(self) -> bool:
        """Whether it runs, as far as is known."""
        return self._process.returncode is None and not self._input.is_closing()

    def hear(self, pcm: bytes) -> None:
        """Give it the next sound of the turn, PCM16LE, mono, at `worker.RATE`. Never blocks."""
        self._send(b"A", pcm)

    async def finish(self) -> str:
        """End the turn, and return what was said.

        Raises:
            StageError: It has died.
        """
        self._send(b"E")
        return await self._text()

    def forget(self) -> None:
        """Let it forget the turn."""
        self._send(b"R")

    def kill(self) -> None:
        """End it now."""
        self._input.close()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def wait(self) -> None:
        """Wait until it has ended."""
        await self._process.wait()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await self._input.wait_closed()

    def _send(self, kind: bytes, rest: bytes = b"") -> None:
        if self.alive:
            self._input.write(worker.HEAD.pack(kind, len(rest)) + rest)

    async def _text(self) -> str:
        try:
            head = await self._output.readexactly(worker.HEAD.size)
            _, length = worker.HEAD.unpack(head)
            return (await self._output.readexactly(length)).decode()
        except (asyncio.IncompleteReadError, ConnectionError):
            raise _failed("has ended") from None


def _failed(how: str) -> StageError:
    return StageError("transcription_failed", f"the process that recognises speech {how}")
