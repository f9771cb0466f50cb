"""Real `firsthop` processes: started, asked, killed, and their logs read when all is over."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from e2e import http, network
from e2e.network import HOST, LOOPBACK
from e2e.waiting import until

COMMAND = str(Path(sys.executable).with_name("firsthop"))
#: Agents are found in the current folder, so processes run in this one.
HERE = Path(__file__).parent

#: A process ends within this after SIGTERM: sessions say goodbye, HTTP finishes.
_STOP_SECONDS = 15.0
_WORKERS = 2
#: Ufrags are 32 ice-chars; call ids are 32 as well, but hex.
_UFRAG = re.compile(r"(?<![A-Za-z0-9+/])(?![0-9a-f]{32}(?![A-Za-z0-9+/]))[A-Za-z0-9+/]{32}(?!\w)")
_ADDRESS = re.compile(rf"(?:{re.escape(HOST)}|{re.escape(LOOPBACK)})(?::(\d+))?")


def environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Return an environment that sets `settings`, named as ``relay.listen``, and no others."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith("FIRSTHOP_") and not name.lower().endswith("_proxy")
    }
    ours = {
        f"FIRSTHOP_{key.upper().replace('.', '__')}": (
            value if isinstance(value, str) else json.dumps(value)
        )
        for key, value in settings.items()
    }
    # Wide, so that no address is broken over two lines.
    return inherited | ours | {"COLUMNS": "200"}


def run(*arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run a command that ends by itself; settings as ``relay__listen=...``."""
    dotted = {key.replace("__", "."): value for key, value in settings.items()}
    return subprocess.run(
        [COMMAND, *arguments],
        env=environment(dotted),
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )


@dataclass
class Process:
    """One `firsthop` process, and the file that its output goes to."""

    arguments: tuple[str, ...]
    settings: dict[str, object]
    http_port: int
    log: Path
    _popen: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where its HTTP is."""
        return f"http://localhost:{self.http_port}"

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._popen is not None, "not started"
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._popen is not None and self._popen.poll() is None

    async def start(self) -> None:
        """Start it, again if it has ended, and wait until it is ready."""
        self._spawn()
        await until(self._ready, f"{self.arguments} is ready; its log: {self.log}")

    def _spawn(self) -> None:
        assert not self.alive
        with self.log.open("ab") as output:
            self._popen = subprocess.Popen(
                [COMMAND, *self.arguments],
                env=environment(self.settings),
                cwd=HERE,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    async def _ready(self) -> bool:
        assert self.alive, f"{self.arguments} ended at once:\n{self.log.read_text()}"
        try:
            return (await self.get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    def send(self, number: signal.Signals) -> None:
        """Send a signal to this process and no other."""
        assert self._popen is not None, "not started"
        self._popen.send_signal(number)

    def kill(self) -> None:
        """End it as a crash does."""
        assert self._popen is not None, "not started"
        self._popen.kill()
        self._popen.wait()

    async def exit_code(self) -> int:
        """Wait for it to end."""
        popen = self._popen
        assert popen is not None, "not started"
        await until(lambda: popen.poll() is not None, f"{self.arguments} ends", _STOP_SECONDS)
        return popen.returncode

    async def get(self, path: str) -> httpx.Response:
        """Ask it over HTTP."""
        async with http.client() as client:
            return await client.get(self.url + path)

    async def post(self, path: str) -> httpx.Response:
        """Ask it over HTTP to do something."""
        async with http.client() as client:
            return await client.post(self.url + path)

    async def metrics(self) -> Metrics:
        """Read its metrics."""
        return Metrics((await self.get("/metrics")).text)


class Metrics:
    """One scrape. Absent is 0, as for a counter that has counted nothing."""

    def __init__(self, text: str) -> None:
        self._samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def __call__(self, name: str, **labels: str) -> int:
        """Return the sum of the samples of ``firsthop_<name>`` that have `labels`."""
        return sum(
            int(sample.value)
            for sample in self._samples
            if sample.name == f"firsthop_{name}" and labels.items() <= sample.labels.items()
        )

    def by(self, label: str, name: str) -> dict[str, int]:
        """Return the samples of ``firsthop_<name>`` that are not zero, by one label."""
        found = (sample for sample in self._samples if sample.name == f"firsthop_{name}")
        return {sample.labels[label]: int(sample.value) for sample in found if sample.value}


@dataclass
class Edge:
    """Relay and transceivers that share a key: as one `dev` process, or as several."""

    folder: Path
    key: str = field(default_factory=lambda: secrets.token_hex(32))
    relay_port: int = field(default_factory=network.ports)
    upstream_port: int = field(default_factory=lambda: network.ports(_WORKERS))
    #: The ports that tokens may name.
    first_shard_port: int = field(default_factory=lambda: network.ports(8))
    processes: list[Process] = field(default_factory=list)
    _transceivers: int = 0

    async def dev(self, backend: str = "agents:parrot", **more: object) -> Process:
        """Start relay and transceiver in one process; more settings as ``relay__workers=1``."""
        http_port = network.ports()
        settings = self._relay_settings() | self._transceiver_settings(http_port, backend)
        return await self._start(("dev",), settings, http_port, more)

    async def relay(self, **more: object) -> Process:
        """Start the relay alone."""
        http_port = network.ports()
        settings = self._relay_settings() | {"relay.health_listen": f"{LOOPBACK}:{http_port}"}
        return await self._start(("relay",), settings, http_port, more)

    async def transceiver(
        self, backend: str = "agents:parrot", http_host: str = LOOPBACK, **more: object
    ) -> Process:
        """Start one more transceiver alone."""
        http_port = network.ports()
        settings = self._transceiver_settings(http_port, backend)
        settings["signaling.listen"] = f"{http_host}:{http_port}"
        return await self._start(("transceiver",), settings, http_port, more)

    async def agent(self, **more: object) -> Process:
        """Start an agent service alone."""
        http_port = network.ports()
        settings: dict[str, object] = {"agent.listen": f"{LOOPBACK}:{http_port}"}
        return await self._start(("agent",), settings, http_port, more)

    def _relay_settings(self) -> dict[str, object]:
        cluster = {
            "networks": [f"{LOOPBACK}/32"],
            "first_port": self.first_shard_port,
            "last_port": self.first_shard_port + 7,
        }
        return {
            "relay.listen": [f"{HOST}:{self.relay_port}"],
            "relay.upstream": f"{LOOPBACK}:{self.upstream_port}",
            "relay.workers": _WORKERS,
            "relay.clusters": [cluster],
        }

    def _transceiver_settings(self, http_port: int, backend: str) -> dict[str, object]:
        shard_port = self.first_shard_port + self._transceivers
        self._transceivers += 1
        return {
            "transceiver.listen": f"{LOOPBACK}:{shard_port}",
            "transceiver.advertise": [f"{HOST}:{self.relay_port}"],
            "signaling.listen": f"{LOOPBACK}:{http_port}",
            "agent.listen": f"{LOOPBACK}:{network.ports()}",
            "backend": backend,
        }

    async def _start(
        self,
        arguments: tuple[str, ...],
        settings: Mapping[str, object],
        http_port: int,
        more: Mapping[str, object],
    ) -> Process:
        dotted = {key.replace("__", "."): value for key, value in more.items()}
        everything = {"keys": {"0": self.key}, **settings, **dotted}
        log = self.folder / f"{arguments[0]}-{http_port}.log"
        process = Process(arguments, everything, http_port, log)
        self.processes.append(process)
        await process.start()
        return process

    async def stop(self) -> None:
        """End what still runs: asked first, then killed."""
        running = [process for process in self.processes if process.alive]
        for process in running:
            process.send(signal.SIGTERM)
        stuck = []
        for process in running:
            try:
                await process.exit_code()
            except AssertionError:
                process.kill()
                stuck.append(process.arguments)
        assert not stuck, f"had to be killed: {stuck}"

    def check_logs(self) -> None:
        """Assert that the logs give away nobody, and tell of nothing unforeseen."""
        for process in self.processes:
            text = process.log.read_text()
            assert "Traceback" not in text, f"{process.log}:\n{text}"
            assert "panicked" not in text, f"{process.log}:\n{text}"
            assert self.key not in text, f"the key stands in {process.log}"
            assert not _UFRAG.findall(text), f"a ufrag stands in {process.log}:\n{text}"
            strangers = {
                match.group()
                for match in _ADDRESS.finditer(text)
                if match.group(1) is None or int(match.group(1)) not in self._own_ports()
            }
            assert not strangers, f"{strangers} stand in {process.log}:\n{text}"

    def _own_ports(self) -> set[int]:
        shards = range(self.first_shard_port, self.first_shard_port + 8)
        ports = {self.relay_port, *shards} | {process.http_port for process in self.processes}
        for process in self.processes:
            public = process.settings.get("relay.listen", [])
            assert isinstance(public, list)
            agent = process.settings.get("agent.listen", ":0")
            ports |= {_port(address) for address in (*public, agent)}
            upstream = _port(process.settings.get("relay.upstream", ":0"))
            ports |= set(range(upstream, upstream + _WORKERS))
        return ports


def _port(address: object) -> int:
    return int(str(address).rpartition(":")[2])
