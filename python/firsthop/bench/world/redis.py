"""The Redis in which a fleet's state is, in a place of a world."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Final

from firsthop.bench.contender import READY_SECONDS
from firsthop.bench.errors import BenchError
from firsthop.bench.programs import Program
from firsthop.bench.world.world import World

_PORT: Final = 6379
_PROGRAM: Final = "redis-server"


class Redis:
    """A real redis-server that keeps nothing on disk, and that can be killed."""

    def __init__(self, world: World, place: str, folder: Path) -> None:
        self._world = world
        self._place = place
        self._folder = folder
        self._host = world.address(place)
        self._program: Program | None = None

    @property
    def installed(self) -> bool:
        """Whether there is a redis-server on this machine."""
        return shutil.which(_PROGRAM) is not None

    @property
    def url(self) -> str:
        """As settings have it."""
        return f"redis://{self._host}:{_PORT}/0"

    def start(self) -> None:
        """Start it, and wait until it takes connections.

        Raises:
            BenchError: It does not.
        """
        command = [*self._world.within(self._place), _PROGRAM, "--bind", self._host]
        command += ["--port", str(_PORT), "--save", "", "--dir", str(self._folder)]
        # Nothing else is in this network.
        command += ["--protected-mode", "no"]
        self._program = Program("redis", command, os.environ, self._folder)
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if self._world.listens(self._place, self._host, _PORT):
                return
            time.sleep(0.02)
        raise BenchError("redis-server does not come up")

    def kill(self) -> None:
        """End it at once."""
        assert self._program is not None, "not started"
        self._program.kill()

    def stop(self) -> None:
        """End it, if it runs."""
        if self._program is not None:
            self._program.stop()
