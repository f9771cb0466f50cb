"""A world, as benchmarks and tests use it: places to run programs in, and links to break."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import httpx

from firsthop.bench.errors import SkippedError
from firsthop.bench.process import NetworkProcess
from firsthop.bench.world import namespaces, router
from firsthop.bench.world.places import Map, Place

_HTTP_SECONDS: Final = 10.0


def missing() -> str | None:
    """Say what a world needs and this machine lacks; None when it can be."""
    if os.geteuid() != 0:
        return "network namespaces take root"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "there is no /dev/net/tun: `modprobe tun`, or give the container that device"
    return None


class World(NetworkProcess):
    """Regions on this machine. A context manager; leaving ends all that runs in them.

    Args:
        plan: What there is, and how far apart.

    Raises:
        SkippedError: This machine lacks something that it needs.
    """

    def __init__(self, plan: Map | None = None) -> None:
        if (problem := missing()) is not None:
            raise SkippedError(f"no world on this machine: {problem}")
        self.map = plan or Map()
        self._places = {place.name: place for place in self.map.places()}
        super().__init__("the world", router.command())
        try:
            problem = self.tell(self._plan())
        except BaseException:
            self.close()
            raise
        if problem is not None:
            self.close()
            raise SkippedError(f"no world on this machine: {problem}")

    def close(self) -> None:
        """End it: what runs in it is killed."""
        super().close()
        # It has done so itself, unless it was killed.
        namespaces.remove(os.getpid())

    def address(self, place: str, number: int = 0) -> str:
        """Return an address of a place, as ``fra.cluster``; a cluster has two."""
        return self._places[place].addresses[number]

    def within(self, place: str) -> list[str]:
        """Return what goes before a command that is to run in a place."""
        return namespaces.exec_in(self._namespace(self._places[place]))

    def run(self, place: str, command: Sequence[str | Path], **how: Any) -> subprocess.Popen[Any]:
        """Start a program in a place; `how` is for `subprocess.Popen`."""
        return subprocess.Popen([*self.within(place), *map(str, command)], **how)

    def browser(self, place: str, program: str, folder: Path) -> Path:
        """Return a program that is `program` in a place, for those who start it by its path."""
        script = folder / f"{Path(program).name}-{place}"
        script.write_text(f'#!/bin/sh\nexec {" ".join(self.within(place))} {program} "$@"\n')
        script.chmod(0o755)
        return script

    @contextmanager
    def inside(self, place: str) -> Iterator[None]:
        """Have this thread be in a place: sockets that it makes meanwhile stay there.

        So do threads that it starts. Not across an `await`.
        """
        with namespaces.inside(self._namespace(self._places[place])):
            yield

    def get(self, place: str, url: str) -> httpx.Response:
        """Ask over HTTP, from a place."""
        with self.inside(place):
            return httpx.get(url, trust_env=False, verify=False, timeout=_HTTP_SECONDS)

    def listens(self, place: str, host: str, port: int) -> bool:
        """Whether somebody takes TCP connections of a place."""
        with self.inside(place), socket.socket() as probe:
            return probe.connect_ex((host, port)) == 0

    def cut(self, one: str, other: str) -> None:
        """Let nothing pass between two, not even what is on its way.

        Each is a region, a place, or an address.
        """
        self.do("cut", self._addresses(one), self._addresses(other))

    def mend(self, one: str, other: str) -> None:
        """Let packets pass between two again."""
        self.do("mend", self._addresses(one), self._addresses(other))

    def kill(self, region: str) -> None:
        """Let nothing in or out of a region, nor pass between places of it."""
        self.do("cut", self._addresses(region), self._everywhere())

    def revive(self, region: str) -> None:
        """Undo `kill`."""
        self.do("mend", self._addresses(region), self._everywhere())

    def counts(self) -> dict[str, int]:
        """What became of packets so far: for tests, and to judge a run.

        ``A B came``, ``A B UDP`` of these, and ``A B lost`` by chance, from place A to place B;
        ``A unroutable``; of all places ``passed``, ``cut``, ``full``, ``refused``, and how much
        later than due: ``late, us`` (the sum) and ``latest, us``.
        """
        found: dict[str, int] = self.do("counts")
        return found

    def _plan(self) -> dict[str, Any]:
        places = list(self._places.values())
        return {
            "owner": os.getpid(),
            "places": {place.name: place.addresses for place in places},
            "links": [
                (one.name, other.name, asdict(self._conditions(one, other)))
                for one in places
                for other in places
                if one != other
            ],
        }

    def _conditions(self, one: Place, other: Place) -> Any:
        return replace(self.map.conditions(one, other), seed=self.map.seed)

    def _namespace(self, place: Place) -> str:
        return namespaces.name_of(os.getpid(), place.name)

    def _addresses(self, name: str) -> list[str]:
        if name in self._places:
            return list(self._places[name].addresses)
        of_region = [place for place in self._places.values() if place.region == name]
        return [address for place in of_region for address in place.addresses] or [name]

    def _everywhere(self) -> list[str]:
        return [address for place in self._places.values() for address in place.addresses]
