"""The fleet file, and files that are read again when they change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Generic, TypeVar

import structlog

from firsthop import yamlfile
from firsthop.errors import ConfigError
from firsthop.fleet.model import Fleet
from firsthop.tasks import cancel

T = TypeVar("T")
log = structlog.get_logger()

#: How often a file is looked at, in seconds.
_INTERVAL: Final = 1.0


def read(path: Path) -> Fleet:
    """Read a fleet file.

    Raises:
        ConfigError: Names the path, and the first place that is wrong.
    """
    return yamlfile.read_as(path, Fleet, "clusters and ingresses")


class WatchedFile(Generic[T]):
    """A file, or several that are read as one, looked at each second on the running loop.

    The content counts, not the time or the inode: a symlink that points elsewhere, as Kubernetes
    swaps the files of a ConfigMap or a Secret, is a change like any other. A file that is wrong is
    logged once, and what was read before stays.

    Args:
        path: The file.
        read: Reads it, and what is beside it, on a thread; raises `ConfigError`.
        changed: Told what was read, on the loop, when it is another than before. If it raises
            `ConfigError` the file counts as wrong, and is tried again.
        beside: Files that `read` reads too.
    """

    def __init__(
        self,
        path: Path,
        read: Callable[[Path], T],
        changed: Callable[[T], None],
        beside: Sequence[Path] = (),
    ) -> None:
        self._path = path
        self._paths = (path, *beside)
        self._read = read
        self._changed = changed
        self._content: list[bytes] | None = None
        self._value: T | None = None
        self._problem: str | None = None
        self._reading = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    @property
    def problem(self) -> str | None:
        """Why what was read before stays, or None."""
        return self._problem

    def load(self) -> T:
        """Read the file now, for the first time; `changed` is not told.

        Raises:
            ConfigError: It is wrong.
        """
        # Looked at before it is read: what is written in between is a change.
        content = _content(self._paths)
        value = self._read(self._path)
        self._content, self._value = content, value
        return value

    def start(self) -> None:
        """Watch, until `stop`."""
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Watch no more."""
        task, self._task = self._task, None
        if task is not None:
            await cancel(task)

    async def check(self) -> None:
        """Look at the file now."""
        async with self._reading:
            try:
                await self._look()
            except ConfigError as error:
                self._refuse(str(error))
            except Exception as error:
                # Watching goes on, whatever a reader makes of a file. No traceback: a file may
                # hold keys, and some formatters show variables.
                self._refuse(f"{self._path}: {type(error).__name__}")

    async def _watch(self) -> None:
        while True:
            await self.check()
            await asyncio.sleep(_INTERVAL)

    async def _look(self) -> None:
        content = await asyncio.to_thread(_content, self._paths)
        if content == self._content:
            self._problem = None
            return
        value = await asyncio.to_thread(self._read, self._path)
        if value != self._value:
            self._changed(value)
            log.info("file.read", path=str(self._path))
        self._content, self._value, self._problem = content, value, None

    def _refuse(self, problem: str) -> None:
        if problem != self._problem:
            effect = "what was read before stays"
            log.error("file.refused", path=str(self._path), problem=problem, effect=effect)
        self._problem = problem


def _content(paths: Sequence[Path]) -> list[bytes]:
    content = []
    for path in paths:
        try:
            content.append(path.read_bytes())
        except OSError as error:
            raise ConfigError(str(path), f"cannot be read: {error.strerror}") from None
    return content
