"""What a relay has to be to take part, and how its process is run."""

from __future__ import annotations

import itertools
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from firsthop.bench.datagrams import Endpoint, Send
from firsthop.bench.errors import BenchError
from firsthop.bench.isolation import RELAY_NICE, Isolation, pinned
from firsthop.bench.load import Framing
from firsthop.bench.trace import Packet

#: Below the kernel's ephemeral ports, and above those that firsthop takes by itself.
_ports: Iterator[int] = itertools.count(21_000)
_LOOPBACK = bytes([127, 0, 0, 1])
_FIRST_OWNER_PORT = 22_000
_STOP_SECONDS = 10.0
READY_SECONDS = 20.0
#: CPU time in a second from which on a relay is busy without a packet, and how long it may be.
_BUSY_NS = 20e6
_SETTLE_SECONDS = 60.0


def free_endpoint() -> Endpoint:
    """Return a loopback endpoint that no other contender is given."""
    return Endpoint(_LOOPBACK, next(_ports))


def owners(count: int) -> list[Endpoint]:
    """Return where the transceivers of a case are: the load programs stand in for them."""
    return [Endpoint(_LOOPBACK, _FIRST_OWNER_PORT + number) for number in range(count)]


class Contender(ABC):
    """A relay under test: made, started, taught, measured, and in any case stopped."""

    #: As it is called in reports.
    name: str
    #: What the transceivers' end receives from it.
    framing: Framing = "records"
    #: What a reader of its figures has to know.
    note: str = ""

    def __init__(self, isolation: Isolation, owners: Sequence[Endpoint], folder: Path) -> None:
        self.isolation = isolation
        self.owners = list(owners)
        self.folder = folder
        self.public = free_endpoint()
        #: CPU time that it takes in a second when nothing comes, once that was measured.
        self.idle_ns = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def start(self) -> None:
        """Start the process and wait until it takes packets.

        Raises:
            SkippedError: Something that it needs is not on this machine.
            BenchError: It does not come up.
        """

    @abstractmethod
    def teach(self, clients: int) -> None:
        """Make it know the flows of the first `clients` clients.

        Raises:
            BenchError: It does not take them.
        """

    @abstractmethod
    def up(self, packets: Sequence[Packet]) -> list[Send]:
        """Return the sends by which these packets go from clients to transceivers."""

    @abstractmethod
    def down(self, packets: Sequence[Packet]) -> list[Send]:
        """Return the sends by which these packets go from the first transceiver to clients."""

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None, "not started"
        return self._process.pid

    def cpu_ns(self) -> int:
        """Return the CPU time that its threads took so far."""
        tasks = Path(f"/proc/{self.pid}/task")
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir())

    @property
    def log(self) -> Path:
        """What it said."""
        return self.folder / f"{self.name}-{self.public.port}.log"

    def launch(self, command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
        """Run `command` on the core of the measurement; what it says goes to the log."""
        nice = [] if self.isolation.realtime else ["nice", "-n", str(RELAY_NICE)]
        with pinned(self.isolation.core), self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*nice, *map(str, command)],
                env=dict(environment),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_for_line(self, line: str) -> None:
        """Wait until the log has `line`."""
        deadline = time.monotonic() + READY_SECONDS
        while line not in self.log.read_text().splitlines():
            self.check(deadline)
            time.sleep(0.02)

    def check(self, deadline: float) -> None:
        """Raise if the process ended, or if it is later than `deadline`."""
        assert self._process is not None, "not started"
        if self._process.poll() is not None or time.monotonic() > deadline:
            said = self.log.read_text().strip()[-500:]
            raise BenchError(f"{self.name} does not come up. It said: {said or 'nothing'}")

    def stop(self) -> None:
        """End the process."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def settle(running: Sequence[Contender], seconds: float) -> list[Contender]:
    """Find out what each takes when nothing comes; first wait until they have little to do.

    What a relay has learned may keep it busy for a while after the last packet. Returns those that
    stay busy all the same.
    """
    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        before = [contender.cpu_ns() for contender in running]
        started = time.monotonic()
        time.sleep(seconds)
        elapsed = time.monotonic() - started
        for contender, was in zip(running, before, strict=True):
            contender.idle_ns = (contender.cpu_ns() - was) / elapsed
        busy = [contender for contender in running if contender.idle_ns > _BUSY_NS]
        if not busy or time.monotonic() > deadline:
            return busy
