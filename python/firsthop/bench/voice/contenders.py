"""The chains that are measured: each is programs of its own, and a way to call it."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from firsthop.bench import checkout, programs
from firsthop.bench.contender import free_endpoint
from firsthop.bench.environment import environment
from firsthop.bench.errors import BenchError, SkippedError
from firsthop.bench.programs import Program

#: Silence that ends a turn, of all contenders: firsthop's default.
SILENCE_S: Final = 0.5
#: After so much silence Pipecat by default has a turn transcribed; the rest is waited for.
_EARLY_S: Final = 0.2
FIRSTHOP, OFFLINE = "firsthop", "firsthop, offline"
PIPECAT, PIPECAT_EARLY = "pipecat", "pipecat, early"

PYTHON: Final = checkout.SOURCES.parent / ".venv-pipecat/bin/python"
BOT: Final = checkout.SOURCES / "peers/pipecat_chain/bot.py"


@dataclass(frozen=True)
class Chain:
    """A chain that runs."""

    name: str
    url: str
    """Where it takes calls."""
    programs: Sequence[Program]
    door: str = "realtime"
    """How calls are placed: a function of `firsthop.bench.caller`."""
    scripted: bool = True
    """Whether the endpoints are its stages."""

    def cpu_s(self) -> float:
        """CPU time of all its processes so far, in seconds."""
        return sum(program.cpu_s() for program in self.programs)

    def times(self, since_s: float) -> Mapping[str, float]:
        """What firsthop's agent tells of the turn that was decided after a moment.

        Raises:
            BenchError: It has answered none.
        """
        for line in reversed(self.programs[-1].said()):
            if line.startswith('{"decided"') and (times := json.loads(line))["decided"] > since_s:
                return {name: float(at) for name, at in times.items()}
        said = "; ".join(self.programs[-1].said()[-3:])[-500:]
        raise BenchError(f"{self.name} did not answer a turn. It said: {said}")


Maker = Callable[[str, str, Path, ExitStack], Chain]
"""Starts a chain: given where clients reach this machine, the endpoints' URL, and a folder."""


@contextmanager
def endpoints(options: Mapping[str, object], folder: Path) -> Iterator[str]:
    """Run the endpoints; yield where they are."""
    port = free_endpoint().port
    command = [sys.executable, "-m", "firsthop.bench.endpoints", "--port", str(port)]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    served = Program("endpoints", command, environment({}), folder)
    try:
        served.wait_until_ready(f"http://127.0.0.1:{port}/delays")
        yield f"http://127.0.0.1:{port}"
    finally:
        served.stop()


def firsthop(host: str, url: str, folder: Path, running: ExitStack) -> Chain:
    """Relay, transceiver and agent, whose stages are the endpoints."""
    stages = {f"AGENT__{stage}__URL": f"{url}/v1" for stage in ("TRANSCRIPTION", "CHAT", "SPEECH")}
    return _firsthop(FIRSTHOP, host, stages, folder, running, scripted=True)


def offline(host: str, url: str, folder: Path, running: ExitStack) -> Chain:
    """The same, with the stages that need no endpoints."""
    silent: dict[str, object] = {"AGENT__GREETING": ""}
    return _firsthop(OFFLINE, host, silent, folder, running, scripted=False)


def pipecat(host: str, url: str, folder: Path, running: ExitStack) -> Chain:
    """A Pipecat bot that does one thing after the other, as firsthop does."""
    return _pipecat(PIPECAT, url, SILENCE_S, folder, running)


def pipecat_early(host: str, url: str, folder: Path, running: ExitStack) -> Chain:
    """One that transcribes while it still waits whether the caller goes on, as is its default."""
    return _pipecat(PIPECAT_EARLY, url, _EARLY_S, folder, running)


def _firsthop(
    name: str,
    host: str,
    stages: Mapping[str, object],
    folder: Path,
    running: ExitStack,
    *,
    scripted: bool,
) -> Chain:
    listen = free_endpoint()
    folder = folder / name
    folder.mkdir()
    settings, url = programs.edge(
        host,
        keys={"0": secrets.token_hex(32)},
        agent__listen=str(listen),
        turns__silence_duration_ms=str(round(SILENCE_S * 1000)),
    )
    settings |= stages
    parts: list[Program] = []

    def started(part: Program, listen: object) -> None:
        running.callback(part.stop)
        parts.append(part)
        part.wait_until_ready(f"http://{listen}/readyz")

    command = [sys.executable, "-m", "firsthop.bench.voice.agent"]
    started(programs.firsthop("relay", settings, folder), settings["RELAY__HEALTH_LISTEN"])
    started(programs.firsthop("transceiver", settings, folder), settings["SIGNALING__LISTEN"])
    started(Program("agent", command, environment(settings), folder), listen)
    return Chain(name, url, parts, scripted=scripted)


def _pipecat(name: str, url: str, stop_s: float, folder: Path, running: ExitStack) -> Chain:
    if not PYTHON.exists():
        raise SkippedError(
            f"{name} is left out: `make {PYTHON.parents[1].name}/.stamp/packages` installs Pipecat"
        )
    folder = folder / name
    folder.mkdir()
    port = free_endpoint().port
    options = {"port": port, "endpoints": f"{url}/v1", "stop-s": stop_s}
    options["then-s"] = round(SILENCE_S - stop_s, 3)
    command: list[str | Path] = [PYTHON, BOT]
    for option, value in options.items():
        command += [f"--{option}", str(value)]
    # The endpoints are on this machine, where no proxy leads.
    variables = {name: v for name, v in os.environ.items() if not name.lower().endswith("_proxy")}
    bot = Program("bot", command, variables, folder)
    running.callback(bot.stop)
    bot.wait_until_ready(f"http://127.0.0.1:{port}/readyz")
    return Chain(name, f"http://127.0.0.1:{port}", [bot], door="pipecat")
