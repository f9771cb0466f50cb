"""Impaired paths: their arithmetic by itself, and the process between two sockets."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from statistics import mean, pstdev
from typing import Any

import pytest

from firsthop.bench.errors import BenchError
from firsthop.bench.impairment import Conditions, Path
from firsthop.bench.link import Link

NONE = Conditions()


def fates(conditions: Conditions, packets: int = 20_000) -> list[float | None]:
    """Return what a link does to packets that come every 20 ms: added seconds, or None."""
    link = Link(conditions)
    left = [link.leaves(number * 0.02) for number in range(packets)]
    return [None if at is None else at - number * 0.02 for number, at in enumerate(left)]


def test_a_packet_leaves_after_the_delay() -> None:
    assert Link(Conditions(delay_ms=50)).leaves(7.0) == pytest.approx(7.05)


def test_the_same_seed_does_the_same_and_another_one_does_not() -> None:
    bad = {"jitter_ms": 10.0, "loss": 0.1, "burst": 3.0, "reorder": 0.1}
    assert fates(Conditions(**bad, seed=3), 200) == fates(Conditions(**bad, seed=3), 200)
    assert fates(Conditions(**bad, seed=3), 200) != fates(Conditions(**bad, seed=4), 200)


def test_directions_and_clients_have_chances_of_their_own() -> None:
    conditions = Conditions(loss=0.5, seed=1)
    seen = {Link(conditions, name).leaves(0) for name in "abcdefghijkl"}
    assert seen == {None, 0.0}


@pytest.mark.parametrize("burst", [1.0, 2.0, 5.0])
def test_as_many_are_lost_as_was_asked_for(burst: float) -> None:
    lost = [fate is None for fate in fates(Conditions(loss=0.1, burst=burst, seed=5))]
    assert mean(lost) == pytest.approx(0.1, abs=0.015)
    runs = [len(list(run)) for is_lost, run in itertools.groupby(lost) if is_lost]
    assert mean(runs) == pytest.approx(max(burst, 1 / 0.9), rel=0.1)


def test_all_can_be_lost_and_none() -> None:
    assert set(fates(Conditions(loss=1), 100)) == {None}
    assert None not in fates(Conditions(jitter_ms=5), 100)


def test_jitter_has_the_deviation_that_was_asked_for_and_never_hurries() -> None:
    # So far apart that order has no part in it.
    link = Link(Conditions(delay_ms=10, jitter_ms=20, seed=2))
    added = [(link.leaves(float(second)) or 0.0) - second for second in range(5000)]
    assert min(added) >= 0.01 - 1e-9
    assert pstdev(added) == pytest.approx(0.02, rel=0.05)


def test_order_is_kept_in_jitter() -> None:
    link = Link(Conditions(jitter_ms=60, seed=1))
    left = [link.leaves(number * 0.02) or 0.0 for number in range(2000)]
    assert left == sorted(left)


def test_reordered_packets_are_passed_by_others_and_hold_nobody_up() -> None:
    link = Link(Conditions(delay_ms=10, reorder=0.1, seed=1))
    came = [number * 0.02 for number in range(5000)]
    left = [link.leaves(at) or 0.0 for at in came]
    late = [number for number, at in enumerate(left) if at - came[number] > 0.0101]
    assert len(late) == pytest.approx(500, rel=0.15)
    assert all(left[number] > came[number + 1] + 0.01 for number in late[:-1])
    on_time = [at for number, at in enumerate(left) if number not in set(late)]
    assert on_time == sorted(on_time)


@pytest.mark.parametrize(
    "wrong", [{"loss": 1.1}, {"reorder": -0.1}, {"delay_ms": -1}, {"jitter_ms": float("nan")}]
)
def test_impossible_conditions_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Conditions(**wrong)


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with udp() as bound:
        yield bound


@pytest.fixture
def client() -> Iterator[socket.socket]:
    with udp() as bound:
        yield bound


def udp() -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind(("127.0.0.1", 0))
    bound.settimeout(10)
    return bound


def where(bound: socket.socket) -> str:
    host, port = bound.getsockname()
    return f"{host}:{port}"


def target(path: Path) -> tuple[str, int]:
    host, _, port = path.address.rpartition(":")
    return host, int(port)


def test_packets_go_both_ways_in_order(server: socket.socket, client: socket.socket) -> None:
    with Path(where(server), up=Conditions(delay_ms=5, jitter_ms=3), down=NONE, keep=3) as path:
        for number in range(20):
            client.sendto(bytes([number]), target(path))
        received = [server.recvfrom(100) for _ in range(20)]
        assert [data[0] for data, _ in received] == list(range(20))
        server.sendto(b"back", received[0][1])
        assert client.recvfrom(100) == (b"back", target(path))
        counts = path.counts()
        assert (counts.up.came, counts.up.passed, counts.down.passed) == (20, 20, 1)
        assert [(one.up, one.data) for one in path.packets()] == [
            (True, bytes([number])) for number in range(3)
        ]


def test_each_client_has_a_port_of_its_own(server: socket.socket, client: socket.socket) -> None:
    with udp() as other, Path(where(server), up=NONE, down=NONE) as path:
        client.sendto(b"one", target(path))
        other.sendto(b"two", target(path))
        ports = dict(server.recvfrom(100) for _ in range(2))
        assert ports[b"one"] != ports[b"two"]
        server.sendto(b"for two", ports[b"two"])
        assert other.recv(100) == b"for two"


def test_a_changed_port_is_another_one_and_the_former_is_dead(
    server: socket.socket, client: socket.socket
) -> None:
    with Path(where(server), up=NONE, down=NONE) as path:
        client.sendto(b"before", target(path))
        _, before = server.recvfrom(100)
        path.change_port()
        client.sendto(b"after", target(path))
        _, after = server.recvfrom(100)
        assert before != after
        server.sendto(b"lost", before)
        server.sendto(b"found", after)
        assert client.recv(100) == b"found"
        assert path.counts().down.came == 1


def test_clients_can_be_led_elsewhere(server: socket.socket, client: socket.socket) -> None:
    with udp() as elsewhere, Path(where(server), up=NONE, down=NONE) as path:
        client.sendto(b"one", target(path))
        assert server.recv(100) == b"one"
        path.lead_to(where(elsewhere))
        client.sendto(b"two", target(path))
        assert elsewhere.recv(100) == b"two"


def test_the_server_can_speak_first_to_a_client_that_was_admitted(
    server: socket.socket, client: socket.socket
) -> None:
    with Path(where(server), up=NONE, down=NONE) as path:
        host, _, port = path.admit(where(client)).rpartition(":")
        server.sendto(b"hello", (host, int(port)))
        assert client.recvfrom(100) == (b"hello", target(path))
        client.sendto(b"back", target(path))
        assert server.recvfrom(100) == (b"back", (host, int(port)))


def test_nothing_passes_while_it_is_cut(server: socket.socket, client: socket.socket) -> None:
    with Path(where(server), up=NONE, down=NONE) as path:
        path.cut()
        client.sendto(b"lost", target(path))
        while not path.counts().up.lost:
            pass
        path.mend()
        client.sendto(b"found", target(path))
        assert server.recv(100) == b"found"


def test_the_rate_of_loss_is_met_in_both_directions(
    server: socket.socket, client: socket.socket
) -> None:
    bad = Conditions(loss=0.25, seed=9)
    with Path(where(server), up=bad, down=NONE) as path:
        for _ in range(400):
            client.sendto(b"x", target(path))
        while (counts := path.counts().up).came < 400:
            pass
        assert counts.lost == pytest.approx(100, abs=30)


def test_a_server_that_comes_later_is_reached(client: socket.socket) -> None:
    with udp() as first:
        later = first.getsockname()
        address = where(first)
    with Path(address, up=NONE, down=NONE) as path:
        client.sendto(b"nobody is there", target(path))
        while not path.counts().up.passed:
            pass
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.settimeout(10)
            server.bind(later)
            client.sendto(b"here", target(path))
            assert server.recv(100) == b"here"


def test_a_port_that_is_taken_says_so(client: socket.socket) -> None:
    with pytest.raises(BenchError, match="has ended"):
        Path("127.0.0.1:9", listen=where(client), up=NONE, down=NONE)


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(BenchError, match="not an address"):
        Path("localhost", up=NONE, down=NONE)
