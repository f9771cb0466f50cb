"""What a call passes through, as processes that can be broken: relays, and the stand-ins."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from multiprocessing.connection import Connection
from pathlib import Path

from firsthop.bench.contender import READY_SECONDS, free_endpoint
from firsthop.bench.datagrams import Endpoint
from firsthop.bench.environment import environment
from firsthop.bench.errors import BenchError
from firsthop.bench.isolation import Isolation, put_before_neighbours, set_realtime
from firsthop.bench.recovery.standins import CLUSTER, Log, Plan

_STOP_SECONDS = 10.0
_ANSWER_SECONDS = 10.0
_STARTED = {"relay.started", "relay.taken_over"}


class Relay:
    """`firsthop relay`, which can be upgraded, killed, and started again.

    Args:
        name: For its files.
        public: Where clients reach it.
        plan: Whose keys and owner it is told.
        folder: For its log and its takeover socket. It is the first there of its name.
        isolation: What it may have.
        flow_cache: ``relay.flow_cache.url``.
    """

    def __init__(
        self,
        name: str,
        public: Endpoint,
        plan: Plan,
        folder: Path,
        isolation: Isolation,
        flow_cache: str,
    ) -> None:
        self.public = public
        self._isolation = isolation
        self._log = folder / f"relay-{name}.log"
        cluster = {
            "id": CLUSTER,
            "networks": [f"{_ip(plan.owner)}/32"],
            "first_port": plan.owner.port,
            "last_port": plan.owner.port,
        }
        upstream = free_endpoint()
        free_endpoint()  # The second worker's upstream is one higher.
        settings: Mapping[str, object] = {
            "KEYS": {"0": plan.secret.hex()},
            "LOG_FORMAT": "json",
            "RELAY__LISTEN": [str(self.public)],
            "RELAY__UPSTREAM": str(upstream),
            "RELAY__WORKERS": "2",
            "RELAY__CLUSTERS": [cluster],
            "RELAY__HEALTH_LISTEN": str(free_endpoint()),
            "RELAY__TAKEOVER_SOCKET": str(folder / f"relay-{name}.sock"),
            "RELAY__FLOW_CACHE__URL": flow_cache,
        }
        self._environment = environment(settings)
        self._processes: list[subprocess.Popen[bytes]] = []

    def launch(self, *arguments: str) -> None:
        """Start a process; `started_ns` waits for it."""
        run = "from firsthop.cli import main; main()"
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", run, "relay", *arguments],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for us, who then end it.
                start_new_session=True,
            )
        self._processes.append(process)
        if self._isolation.realtime:
            put_before_neighbours(process.pid)

    def started_ns(self) -> int:
        """Wait until the process that was launched last forwards.

        Returns:
            When that was by its own log, in Unix nanoseconds.
        """
        process = self._processes[-1]
        deadline = time.monotonic() + READY_SECONDS
        while len(moments := list(self._moments())) < len(self._processes):
            if process.poll() is not None or time.monotonic() > deadline:
                said = self._log.read_text().strip()[-500:]
                raise BenchError(f"the relay does not come up. It said: {said or 'nothing'}")
            time.sleep(0.002)
        if self._isolation.realtime:
            _set_workers_realtime(process.pid)
        return moments[-1]

    def crash(self) -> int:
        """Kill it, start it again at once, as a supervisor does; return when it forwarded."""
        self._processes[-1].kill()
        self._processes[-1].wait()
        self.launch()
        return self.started_ns()

    def upgrade(self) -> None:
        """Have a new process take its place.

        Raises:
            BenchError: That failed, or the old process did not end well.
        """
        old = self._processes[-1]
        self.launch("--takeover")
        self.started_ns()
        try:
            code: int | None = old.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        if code != 0:
            raise BenchError(f"a relay that gave its place ended with {code} instead of 0")

    def stop(self) -> None:
        """End it, and whatever came before it and still runs."""
        for process in self._processes:
            _end(process)

    def _moments(self) -> Iterator[int]:
        """When processes began to forward, oldest first."""
        for line in self._log.read_text().splitlines():
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if isinstance(said, dict) and said.get("event") in _STARTED:
                yield int(datetime.fromisoformat(said["timestamp"]).timestamp() * 1e6) * 1000


class StandinProcess:
    """The stand-ins, in a process of their own; its methods are those of `Standins`."""

    def __init__(self, plan: Plan, isolation: Isolation) -> None:
        ours, theirs = socket.socketpair()
        # Not `-m`: what it sends back has to be of the class that we know.
        run = "from firsthop.bench.recovery.standins import main; main()"
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", run, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._control = Connection(ours.detach())
        self._control.send(plan)
        self._ask("watch")
        if isolation.realtime:
            set_realtime(self._process.pid, on=True)

    def greet(self, relay: Endpoint) -> None:
        """Use this relay, and check the path to it at once."""
        self._ask("greet", relay)

    def move(self, relay: Endpoint) -> None:
        """Use this relay, without a word."""
        self._ask("move", relay)

    def newcomers(self, per_second: int) -> None:
        """Have so many newcomers."""
        self._ask("newcomers", per_second)

    def watch(self) -> None:
        """Begin a new log."""
        self._ask("watch")

    def report(self) -> Log:
        """Return the log."""
        log = self._ask("report")
        assert isinstance(log, Log)
        return log

    def stop(self) -> None:
        """End the process."""
        _end(self._process)
        self._control.close()

    def _ask(self, name: str, *arguments: object) -> object:
        try:
            self._control.send((name, arguments))
            if self._control.poll(_ANSWER_SECONDS):
                return self._control.recv()
        except (EOFError, OSError):
            pass
        raise BenchError("the stand-ins for clients and transceiver do not answer")


def _set_workers_realtime(pid: int) -> None:
    """Give real-time priority to all threads but the first.

    That one runs Python: it would use up a core for 0.1 s when it starts and when it ends, and no
    thread on it could come in between.
    """
    for thread in os.listdir(f"/proc/{pid}/task"):
        if int(thread) != pid:
            os.sched_setscheduler(int(thread), os.SCHED_FIFO, os.sched_param(1))


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _ip(endpoint: Endpoint) -> str:
    return socket.inet_ntoa(endpoint.ip)
