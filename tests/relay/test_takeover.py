"""A relay gives its place to another: real data planes, real sockets, two ends of a Unix socket."""

from __future__ import annotations

import json
import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from firsthop._native import Cluster, Relay, seal_hop_header
from firsthop.relay import takeover
from firsthop.relay.takeover import Place, TakeoverError

KEY = b"\x11" * 32
RTP = bytes([0x80, 111]) + bytes(100)
CONFIRM, PATH = 1, 2
UP_HEADER_BYTES = 24


def a_relay(upstream_owner: str, sockets: list[list[int]] | None = None, workers: int = 2) -> Relay:
    """Make a relay that listens on any port and sends to owners at `upstream_owner`'s port only."""
    port = int(upstream_owner.rpartition(":")[2])
    cluster = Cluster(
        1,
        networks=["127.0.0.0/8"],
        first_port=port,
        last_port=port,
        ipv6_prefix=None,
        keys={0: KEY},
        key_id=0,
    )
    return Relay(
        listen=["127.0.0.1:0"],
        tcp_listen=["127.0.0.1:0"],
        tcp_connections=10,
        tcp_connections_per_address=10,
        upstream="127.0.0.1:0",
        workers=workers,
        pin=False,
        busy_poll_us=0,
        flow_capacity=1000,
        flow_idle_seconds=35,
        look_up=False,
        site=0,
        edges=[],
        clusters=[cluster],
        sockets=sockets,
    )


@contextmanager
def udp() -> Iterator[socket.socket]:
    """Bind any UDP port of loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        bound.settimeout(5)
        yield bound


def address(bound: socket.socket) -> str:
    host, port = bound.getsockname()
    return f"{host}:{port}"


class Calls:
    """Clients with flows to one owner through a relay."""

    def __init__(
        self, relay: Relay, owner: socket.socket, clients: Sequence[socket.socket]
    ) -> None:
        self.public = ("127.0.0.1", int(relay.local_addresses()[0].rpartition(":")[2]))
        self._owner = owner
        self._clients = clients
        # Which worker the kernel gives a client to is the kernel's to know: teach all.
        for upstream in relay.upstream_addresses():
            for client in clients:
                self.say(upstream, client)

    def say(self, upstream: str, client: socket.socket) -> None:
        """Let the owner say something to a client, which teaches the relay the flow."""
        header = seal_hop_header(
            secret=KEY,
            key_id=0,
            owner=address(self._owner),
            direction="down",
            flags=CONFIRM | PATH,
            hop_limit=3,
            tick=int(time.time()) // 16 % 65536,
            client=address(client),
            ingress=0,
            return_hop=None,
        )
        record = bytearray(header + RTP)
        record[10:12] = len(RTP).to_bytes(2, "big")
        host, _, port = upstream.rpartition(":")
        self._owner.sendto(record, (host, int(port)))
        assert client.recv(2048) == RTP

    def heard(self, packets: int) -> int:
        """Return how many packets reach the owner, of so many that should."""
        count = 0
        while count < packets:
            datagram = self._owner.recv(65536)
            while datagram and datagram[0] == 0xE5:
                length = UP_HEADER_BYTES + int.from_bytes(datagram[10:12], "big")
                datagram = datagram[length:]
                count += 1
        return count


class Old:
    """A running relay that gives its place in a thread of its own."""

    def __init__(self, relay: Relay, connection: socket.socket) -> None:
        self.relay = relay
        self.http = socket.create_server(("127.0.0.1", 0))
        self.given: bool | None = None
        self.resumed: list[tuple[Place, Sequence[bytes]]] = []
        self._connection = connection
        self._thread = threading.Thread(target=self._give)
        self._thread.start()

    def _give(self) -> None:
        def resume(place: Place, flows: Sequence[bytes]) -> None:
            self.resumed.append((place, flows))

        with self._connection:
            self.given = takeover.give(self._connection, self.relay, self.http.fileno(), resume)

    def join(self) -> bool | None:
        self._thread.join(10)
        self.http.close()
        return self.given


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    old, new = socket.socketpair()
    new.settimeout(5)
    with old, new:
        yield old, new


def test_the_new_relay_has_sockets_flows_and_what_waits(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    with udp() as owner, udp() as first, udp() as second:
        relay = a_relay(address(owner))
        relay.run()
        calls = Calls(relay, owner, [first, second])
        public, upstream = relay.local_addresses(), relay.upstream_addresses()
        made: list[Relay] = []

        def begin(place: Place) -> Relay:
            made.append(a_relay(address(owner), place.sockets))
            # The old one forwards until we are ready.
            first.sendto(RTP, calls.public)
            assert calls.heard(1) == 1
            return made[-1]

        old = Old(relay, ends[0])
        http = socket.socket(fileno=takeover.take(ends[1], begin))
        assert old.join()
        assert old.resumed == []
        with http:
            assert http.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        new = made[0]
        assert (new.local_addresses(), new.upstream_addresses()) == (public, upstream)
        assert new.counters()["flows"] == 2 * len(upstream)
        for client in (first, second):
            client.sendto(RTP, calls.public)
        assert calls.heard(2) == 2
        calls.say(upstream[0], first)
        new.stop()


def test_a_relay_that_cannot_take_over_leaves_the_old_one_alone(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    with udp() as owner, udp() as client:
        relay = a_relay(address(owner))
        relay.run()
        calls = Calls(relay, owner, [client])
        old = Old(relay, ends[0])
        with pytest.raises(OSError, match="workers"):
            takeover.take(ends[1], lambda place: a_relay(address(owner), place.sockets, workers=1))
        ends[1].close()
        assert old.join() is False
        assert old.resumed == []
        client.sendto(RTP, calls.public)
        assert calls.heard(1) == 1
        relay.stop()


def test_a_new_relay_that_dies_at_the_last_moment_is_replaced_by_the_old_one(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    with udp() as owner, udp() as client:
        relay = a_relay(address(owner))
        relay.run()
        calls = Calls(relay, owner, [client])

        class Dying:
            def restore(self, worker: int, flows: bytes) -> None: ...

            def run(self) -> None:
                raise RuntimeError("killed")

        old = Old(relay, ends[0])
        with pytest.raises(RuntimeError, match="killed"):
            takeover.take(ends[1], lambda place: Dying())
        # It stopped, so what the client says now waits.
        client.sendto(RTP, calls.public)
        ends[1].close()
        assert old.join() is False
        [(place, flows)] = old.resumed
        again = a_relay(address(owner), place.sockets)
        place.close()
        for worker, worker_flows in enumerate(flows):
            again.restore(worker, worker_flows)
        again.run()
        assert calls.heard(1) == 1
        again.stop()


def test_an_old_relay_that_dies_at_the_last_moment_is_not_missed(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    with udp() as owner, socket.create_server(("127.0.0.1", 0)) as http:
        old = a_relay(address(owner))
        old.run()
        place = Place(old.sockets(), http.fileno())
        made: list[Relay] = []

        def begin(place: Place) -> Relay:
            made.append(a_relay(address(owner), place.sockets))
            return made[-1]

        taken: list[int] = []
        new = threading.Thread(target=lambda: taken.append(takeover.take(ends[1], begin)))
        new.start()
        takeover._send(ends[0], json.dumps(takeover._hello(place)).encode())
        takeover._send_descriptors(ends[0], place)
        for worker in range(2):
            takeover._send(ends[0], old.export(worker))
        assert takeover._receive(ends[0]) == b"ready"
        for changes in old.finish():
            takeover._send(ends[0], changes)
        ends[0].close()
        new.join(10)
        os.close(taken[0])
        assert made[0].failed() is None
        made[0].stop()


@pytest.mark.parametrize(
    ("says", "complaint"),
    [
        (json.dumps({"format": 2, "sockets": [2]}).encode(), "in format 2"),
        (b"[]", r"in format \?"),
        (b"\xff", r"in format \?"),
        (b"", r"in format \?"),
    ],
)
def test_another_version_is_refused(
    ends: tuple[socket.socket, socket.socket], says: bytes, complaint: str
) -> None:
    ends[0].sendall(struct.pack("!I", len(says)) + says)
    with pytest.raises(TakeoverError, match=complaint):
        takeover.take(ends[1], _never)


def test_what_breaks_off_is_told(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[0].sendall(struct.pack("!I", 100) + b"{")
    ends[0].close()
    with pytest.raises(TakeoverError, match="broke off"):
        takeover.take(ends[1], _never)


def test_what_is_no_relay_is_told(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[0].sendall(b"HTTP/1.1 400 Bad Request\r\n")
    with pytest.raises(TakeoverError, match="no relay"):
        takeover.take(ends[1], _never)


def test_no_descriptor_is_left_open(ends: tuple[socket.socket, socket.socket]) -> None:
    with udp() as owner:
        relay = a_relay(address(owner))
        relay.run()
        before = set(os.listdir("/proc/self/fd"))
        old = Old(relay, ends[0])
        with pytest.raises(OSError, match="workers"):
            takeover.take(ends[1], lambda place: a_relay(address(owner), place.sockets, workers=1))
        ends[1].close()
        old.join()
        after = set(os.listdir("/proc/self/fd"))
        assert len(after) <= len(before)
        relay.stop()


def test_nobody_else_may_ask_for_the_place(tmp_path: Path) -> None:
    path = tmp_path / "relay.sock"
    with takeover.listen(path) as listener:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        connection = takeover.connect(path)
        assert connection is not None
        with connection, listener.accept()[0]:
            pass


def test_a_path_that_nobody_listens_at_is_nobody(tmp_path: Path) -> None:
    path = tmp_path / "relay.sock"
    assert takeover.connect(path) is None
    takeover.listen(path).close()
    assert path.exists()
    assert takeover.connect(path) is None
    # And the next one may have it.
    takeover.listen(path).close()


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"takeover_socket .*nowhere"):
        takeover.listen(tmp_path / "nowhere" / "relay.sock")


def _never(place: Place) -> Relay:
    raise AssertionError("it must not get that far")
