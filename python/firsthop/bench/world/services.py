"""Programs in a world: each in its place, started, killed, and started again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from firsthop.bench import programs
from firsthop.bench.programs import Program
from firsthop.bench.world.world import World


@dataclass
class Service:
    """A `firsthop` program in a place."""

    world: World
    place: str
    kind: str
    """The command that it is, as ``relay``."""
    name: str
    settings: Mapping[str, object]
    health: str
    """Where it answers ``/readyz`` and ``/metrics``, as ``10.1.2.1:9478``."""
    folder: Path
    _program: Program | None = field(default=None, init=False)

    def start(self) -> None:
        """Start it; `wait` for it."""
        self._program = programs.firsthop(
            self.kind,
            self.settings,
            self.folder,
            within=self.world.within(self.place),
            called=self.name,
        )

    def wait(self) -> None:
        """Wait until it is ready.

        Raises:
            BenchError: It does not come up.
        """
        assert self._program is not None, "not started"
        with self.world.inside(self.place):
            self._program.wait_until_ready(f"http://{self.health}/readyz")

    def metrics(self) -> str:
        """Return what it counts."""
        return self.world.get(self.place, f"http://{self.health}/metrics").text

    def kill(self) -> None:
        """End it as a crash does."""
        assert self._program is not None, "not started"
        self._program.kill()

    def stop(self) -> None:
        """End it, if it runs."""
        if self._program is not None:
            self._program.stop()

    def said(self) -> list[str]:
        """The lines that it has printed so far."""
        return [] if self._program is None else self._program.said()


def start(services: Iterable[Service]) -> None:
    """Start several at once, and wait for all.

    Raises:
        BenchError: One does not come up.
    """
    started = list(services)
    for service in started:
        service.start()
    for service in started:
        service.wait()


def stop(services: Iterable[Service]) -> None:
    """End several at once."""
    with ThreadPoolExecutor() as at_once:
        list(at_once.map(Service.stop, services))
