"""The servers that are measured. Each is one process on one core, and answers WHIP."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar, Final, Literal

import httpx

from firsthop.bench import checkout, isolation, machine
from firsthop.bench.contender import free_endpoint
from firsthop.bench.environment import environment
from firsthop.bench.errors import BenchError, SkippedError
from firsthop.bench.media import kernel
from firsthop.bench.media.seen import LEAST_RATE
from firsthop.bench.programs import Program

Echo = Literal["pcm", "packets"]
"""What is echoed: decoded sound, which is encoded again; or packets as they came."""

#: Of all encoders, but aiortc's, whose settings are its own; mono.
RATE: Final = 48_000
BITRATE: Final = 32_000
COMPLEXITY: Final = 5
_PATIENCE_S: Final = 20.0
_SESSIONS: Final = 4096


class Server(ABC):
    """A server of calls: started on one core, called, and in any case stopped.

    Args:
        core: Where it runs.
        host: Where callers reach its UDP ports.
        echo: What it sends back.
        folder: For what it says.
    """

    name: ClassVar[str]
    #: Of a PCM echo, in packets of those that were due.
    least_rate: ClassVar[float] = LEAST_RATE
    #: What a reader of its figures has to know.
    note: ClassVar[str] = ""

    def __init__(self, core: int, host: str, echo: Echo, folder: Path) -> None:
        self.echo = echo
        self.media = f"{host}:{free_endpoint().port}"
        self._http = str(free_endpoint())
        self._core = core
        self._folder = folder
        self._program: Program | None = None
        self._client = httpx.Client(
            base_url=f"http://{self._http}", trust_env=False, timeout=_PATIENCE_S
        )

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """What to run, built if need be.

        Raises:
            SkippedError: Something that it needs is not on this machine.
        """

    def variables(self) -> Mapping[str, str]:
        """Its environment."""
        return os.environ

    def start(self) -> None:
        """Start it, and wait until it takes calls.

        Raises:
            SkippedError: Something that it needs is not on this machine.
            BenchError: It does not come up.
        """
        command = self.command()
        name = f"{self.name}-{self.media.rpartition(':')[2]}".replace(" ", "-")
        with isolation.pinned(self._core):
            self._program = Program(name, command, self.variables(), self._folder)
        self._program.wait_until_ready(f"http://{self._http}/readyz")

    def stop(self) -> None:
        """End it."""
        self._client.close()
        if self._program is not None:
            self._program.stop()
            self._program = None

    def place(self, offer: str) -> str:
        """Place a call: send an offer, and return the answer (SDP).

        Raises:
            BenchError: It is refused.
        """
        headers = {"Content-Type": "application/sdp"}
        try:
            answer = self._client.post("/whip", content=offer, headers=headers)
        except httpx.HTTPError as error:
            raise BenchError(f"{self.name} did not answer a call: {error!r}") from None
        if answer.status_code != 201:
            raise BenchError(f"{self.name} refused a call: {answer.status_code} {answer.text}")
        return answer.text

    def cpu_s(self) -> float:
        """The CPU time that it took so far, in seconds."""
        return kernel.cpu_s(self._running.pid)

    def resident_bytes(self) -> int:
        """Its memory."""
        return kernel.resident_bytes(self._running.pid)

    def dropped(self) -> int:
        """Datagrams that its sockets had no room for, so far."""
        return kernel.dropped(self._running.pid)

    def said(self) -> list[str]:
        """The lines that it has printed so far."""
        return self._running.said()

    @property
    def _running(self) -> Program:
        assert self._program is not None, "not started"
        return self._program


class Firsthop(Server):
    """`firsthop transceiver` as it is installed, without a relay, one shard."""

    name = "firsthop"
    #: The pauses of what is said, a tenth of it, are not sent (DTX).
    least_rate = 0.85

    def command(self) -> Sequence[str | Path]:
        """Run what is installed here."""
        return [sys.executable, "-c", "from firsthop.cli import main; main()", "transceiver"]

    def variables(self) -> Mapping[str, str]:
        """Its settings."""
        return environment(
            {
                "KEYS": {"0": secrets.token_hex(32)},
                "LOG_FORMAT": "json",
                "BACKEND": "echo" if self.echo == "pcm" else "mirror",
                "SIGNALING__LISTEN": self._http,
                "TRANSCEIVER__LISTEN": self.media,
                "TRANSCEIVER__ADVERTISE": [self.media],
                "TRANSCEIVER__DIRECT": "true",
                "TRANSCEIVER__MAX_SESSIONS": str(_SESSIONS),
                "AUDIO__SAMPLE_RATE": str(RATE),
                "AUDIO__BITRATE": str(BITRATE),
                "AUDIO__COMPLEXITY": str(COMPLEXITY),
            }
        )


class Pion(Server):
    """See ``bench/peers/media-pion``."""

    name = "pion"

    def command(self) -> Sequence[str | Path]:
        """Build it."""
        check_libopus()
        return [
            checkout.build_go("peers/media-pion", "media-pion"),
            *("--listen", self.media, "--http", self._http),
            *("--mode", "pcm" if self.echo == "pcm" else "pass"),
            *("--bitrate", str(BITRATE), "--complexity", str(COMPLEXITY)),
        ]


class Aiortc(Server):
    """See ``bench/peers/media-aiortc.py``."""

    name = "aiortc"
    note = "stereo, 96 kbit/s: its defaults"

    def command(self) -> Sequence[str | Path]:
        """Run it by the interpreter that runs this."""
        return [sys.executable, checkout.SOURCES / "peers" / "media-aiortc.py", self._http]


def check_libopus() -> None:
    """Make sure that programs can be built with libopus.

    Raises:
        SkippedError: They cannot.
    """
    found = (
        shutil.which("pkg-config") is not None
        and subprocess.run(["pkg-config", "--exists", "opus"], check=False).returncode == 0
    )
    if not found:
        raise SkippedError(
            "pion is left out: it needs `apt-get install pkg-config libopus-dev gcc`"
        )


def versions() -> dict[str, str | None]:
    """Versions of what the servers are made with; None for what is not there."""
    return {
        "libopus of pion": machine.version_of("pkg-config", "--modversion", "opus"),
        "Pion": _pion_version(),
        "aiortc": version("aiortc"),
    }


def _pion_version() -> str | None:
    modules = checkout.SOURCES / "peers" / "media-pion" / "go.mod"
    found = re.search(r"pion/webrtc/v4 (v\S+)", modules.read_text())
    return found[1] if found else None
