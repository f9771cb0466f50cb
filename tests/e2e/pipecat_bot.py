"""The bot of examples/pipecat_bot as a process, with the packages that it wants."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from e2e import network
from e2e.network import LOOPBACK
from e2e.processes import environment
from e2e.waiting import until

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-pipecat/bin/python"
BOT = ROOT / "examples/pipecat_bot/bot.py"
GREETING = "Hello. I say what you say."
#: It loads a compiler and half of PyPI.
_START_SECONDS = 60.0


@dataclass
class Bot:
    """A bot, and the file that its output goes to."""

    path: Path
    port: int = field(default_factory=network.ports)
    _popen: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it takes WebSockets."""
        return f"ws://{LOOPBACK}:{self.port}/ws"

    @property
    def log(self) -> str:
        """What it has said since it was started."""
        return self.path.read_text()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._popen is not None and self._popen.poll() is None

    async def start(self) -> None:
        """Start it, if it does not run, and wait until it takes calls."""
        if not self.alive:
            self._spawn()
        await until(self._ready, "the bot takes calls", _START_SECONDS)

    def kill(self) -> None:
        """End it as a crash does."""
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait()

    def _spawn(self) -> None:
        assert PYTHON.exists(), "the packages of Pipecat are missing; `make test` installs them"
        with self.path.open("wb") as output:
            self._popen = subprocess.Popen(
                [str(PYTHON), str(BOT), "--host", LOOPBACK, "--port", str(self.port)],
                env=environment({}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def _ready(self) -> bool:
        assert self.alive, f"the bot ended at once:\n{self.log}"
        return "takes calls" in self.log
