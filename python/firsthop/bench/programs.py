"""Programs that are measured: started as users start them, waited for, ended, their CPU time."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import httpx

from firsthop.bench.contender import READY_SECONDS, free_endpoint
from firsthop.bench.environment import environment
from firsthop.bench.errors import BenchError
from firsthop.bench.isolation import put_before_neighbours

#: An address that is not loopback's own: clients offer no such candidates.
_HOST: Final = "10.99.0.1"
_STOP_SECONDS: Final = 10.0
_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")


class Program:
    """A process, from its start to `stop`.

    Args:
        name: What it is called.
        command: What to run.
        variables: All of its environment.
        folder: Where what it says is kept.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        variables: Mapping[str, str],
        folder: Path,
    ) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [*map(str, command)],
                env=dict(variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        # Before it has threads: each has a priority of its own, which it passes on.
        put_before_neighbours(self._process.pid)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def wait_until_ready(self, url: str) -> None:
        """Wait until `url` answers 200.

        Raises:
            BenchError: It does not.
        """
        deadline = time.monotonic() + READY_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                if httpx.get(url, trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        said = self._log.read_text().strip()[-500:]
        raise BenchError(f"{self.name} does not come up. It said: {said or 'nothing'}")

    def said(self) -> list[str]:
        """The lines that it has printed so far."""
        return self._log.read_text().splitlines()

    def cpu_s(self) -> float:
        """The CPU time that it took so far, and that its ended children took, in seconds."""
        # Behind the name, which may hold anything: proc_pid_stat(5).
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) * _TICK_S

    def kill(self) -> None:
        """End it as a crash does."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def firsthop(
    name: str,
    settings: Mapping[str, object],
    folder: Path,
    *,
    within: Sequence[str] = (),
    called: str | None = None,
) -> Program:
    """Start `firsthop <name>` with these settings, named as ``RELAY__LISTEN``, and no others.

    Args:
        name: The command.
        settings: All that it is told.
        folder: Where what it says is kept.
        within: What goes before the command, as to run it in a network namespace.
        called: What it is called, if there are several of its kind.
    """
    command = [*within, sys.executable, "-c", "from firsthop.cli import main; main()", name]
    return Program(called or name, command, environment(settings), folder)


def edge(host: str, **settings: object) -> tuple[dict[str, object], str]:
    """Settings of a relay and a transceiver on this machine, and where their HTTP is.

    Args:
        host: Where clients reach the relay.
        settings: More of them, in lower case.
    """
    public, upstream, shard, health, http = (free_endpoint() for _ in range(5))
    cluster = {
        "id": 1,
        "networks": ["127.0.0.1/32"],
        "first_port": shard.port,
        "last_port": shard.port,
    }
    ours: dict[str, object] = {
        "LOG_FORMAT": "json",
        "RELAY__LISTEN": [f"{host}:{public.port}"],
        "RELAY__UPSTREAM": str(upstream),
        "RELAY__WORKERS": "1",
        "RELAY__CLUSTERS": [cluster],
        "RELAY__HEALTH_LISTEN": str(health),
        "TRANSCEIVER__LISTEN": str(shard),
        "TRANSCEIVER__ADVERTISE": [f"{host}:{public.port}"],
        "SIGNALING__LISTEN": str(http),
    }
    return ours | {name.upper(): value for name, value in settings.items()}, f"http://{http}"


def client_address(*, own_network: bool) -> str:
    """An address by which a client on this machine reaches it.

    Raises:
        BenchError: The network of our own cannot be given one.
    """
    if own_network:
        done = subprocess.run(
            ["ip", "address", "add", f"{_HOST}/32", "dev", "lo"], capture_output=True, check=False
        )
        if done.returncode == 0:
            return _HOST
        raise BenchError("`ip address add` failed: install iproute2")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Sends nothing: connecting a UDP socket only asks the routing table.
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
