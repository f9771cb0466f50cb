"""The network of a world, asked by sockets of real namespaces."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from firsthop.bench.errors import SkippedError
from firsthop.bench.link import Conditions
from firsthop.bench.world import namespaces
from firsthop.bench.world.places import FRA, SIN, Map
from firsthop.bench.world.world import World, missing

needs_root = pytest.mark.skipif(missing() is not None, reason=f"no world here: {missing()}")

_PORT = 5000
_PATIENCE_S = 10.0
_MAP = Map(
    (FRA, SIN),
    {frozenset(("fra", "sin")): 3.0},
    within_ms=1.0,
    public=lambda ms: Conditions(delay_ms=ms),
)


@pytest.fixture(scope="module")
def made() -> Iterator[World]:
    """Yield a small world."""
    with World(_MAP) as one:
        yield one


def bound(made: World, place: str, number: int = 0) -> socket.socket:
    """Return a UDP socket in a place."""
    with made.inside(place):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.settimeout(_PATIENCE_S)
    one.bind((made.address(place, number), _PORT))
    return one


def passes(made: World, source: socket.socket, destination: socket.socket) -> bool:
    """Send a packet, and return whether it came rather than being cut."""
    before = made.counts()
    source.sendto(b"x", destination.getsockname())
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        now = made.counts()
        for what in ("passed", "cut"):
            if now.get(what, 0) > before.get(what, 0):
                if what == "passed":
                    destination.recv(10)
                return what == "passed"
    raise AssertionError("neither passed nor cut")


@needs_root
def test_packets_reach_every_address_in_no_less_than_their_time(made: World) -> None:
    with bound(made, "sin.user") as user:
        for number in (0, 1):
            with bound(made, "fra.cluster", number) as cluster:
                began = time.monotonic()
                user.sendto(b"hello", (made.address("fra.cluster", number), _PORT))
                assert cluster.recvfrom(10) == (b"hello", user.getsockname())
                assert time.monotonic() - began >= 0.003


@needs_root
def test_a_cut_lasts_until_it_is_mended_and_concerns_nobody_else(made: World) -> None:
    with (
        bound(made, "sin.edge") as edge,
        bound(made, "fra.cluster") as first,
        bound(made, "fra.cluster", 1) as second,
    ):
        made.cut("sin.edge", made.address("fra.cluster"))
        assert [passes(made, edge, to) for to in (first, second)] == [False, True]
        assert [passes(made, source, edge) for source in (first, second)] == [False, True]
        made.mend("sin.edge", "fra.cluster")
        assert passes(made, edge, first)


@needs_root
def test_nothing_goes_in_or_out_of_a_region_that_is_gone(made: World) -> None:
    with (
        bound(made, "fra.edge") as edge,
        bound(made, "fra.cluster") as cluster,
        bound(made, "sin.edge") as other,
        bound(made, "sin.user") as user,
    ):
        made.kill("fra")
        assert not passes(made, other, cluster)
        assert not passes(made, edge, cluster)
        assert passes(made, user, other)
        made.revive("fra")
        assert passes(made, other, cluster)


@needs_root
def test_nobody_sends_in_the_name_of_another_place(made: World) -> None:
    before = made.counts().get("sin.user unroutable", 0)
    with made.inside("sin.user"):
        stranger = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    source, destination = (
        socket.inet_aton(made.address(place)) for place in ("sin.edge", "fra.cluster")
    )
    header = bytes((0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0)) + source + destination
    with stranger:
        stranger.sendto(header, (made.address("fra.cluster"), 0))
    deadline = time.monotonic() + _PATIENCE_S
    while made.counts().get("sin.user unroutable", 0) == before:
        assert time.monotonic() < deadline


@needs_root
def test_programs_run_where_they_are_put(made: World, tmp_path: Path) -> None:
    done = subprocess.run(
        [*made.within("fra.edge"), "ip", "-brief", "address"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert made.address("fra.edge") in done.stdout
    wrapped = made.browser("fra.edge", sys.executable, tmp_path)
    code = "import os; print(os.stat('/proc/self/ns/net').st_ino)"
    inside = subprocess.run([wrapped, "-c", code], capture_output=True, text=True, check=True)
    with made.inside("fra.edge"):
        assert int(inside.stdout) == os.stat("/proc/thread-self/ns/net").st_ino


@needs_root
def test_whoever_dies_leaves_nothing_behind(tmp_path: Path) -> None:
    """Even one who is killed while a program of his runs in a world."""
    script = (
        "from firsthop.bench.world.world import World\n"
        "world = World()\n"
        "sleeper = world.run('fra.user', ['sleep', '600'])\n"
        "print(world.pid, sleeper.pid, flush=True)\n"
        "import time; time.sleep(600)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pids = [int(pid) for pid in owner.stdout.readline().split()]
    assert list(Path("/run/netns").glob(f"firsthop-{owner.pid}-*"))
    owner.kill()
    owner.wait()
    owner.stdout.close()
    deadline = time.monotonic() + _PATIENCE_S
    while any(map(_alive, pids)) or list(Path("/run/netns").glob(f"firsthop-{owner.pid}-*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@needs_root
def test_what_dead_processes_left_behind_is_removed() -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    name = namespaces.name_of(dead.pid, "fra.edge")
    namespaces.make([name])
    try:
        namespaces.remove_stale()
        assert not Path("/run/netns", name).exists()
    finally:
        namespaces.remove(dead.pid)


def test_who_has_no_root_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(SkippedError, match="network namespaces take root"):
        World()
