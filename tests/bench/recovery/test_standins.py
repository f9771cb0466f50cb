"""Stand-ins for clients and transceiver, with a test in the place of the relay."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from firsthop._native import open_token, seal_hop_header
from firsthop.bench.datagrams import Endpoint
from firsthop.bench.isolation import Isolation
from firsthop.bench.recovery import packets
from firsthop.bench.recovery.processes import StandinProcess
from firsthop.bench.recovery.standins import CLUSTER, Plan, talks

ISOLATION = Isolation(core=0, other_core=None, realtime=False, notes=())
SECRET = bytes(range(32))
CALLS = 3
_DEADLINE_SECONDS = 20.0


@dataclass
class Place:
    """Where a relay would be."""

    plan: Plan
    socket: socket.socket
    standins: StandinProcess

    def packet(self) -> tuple[bytes, tuple[str, int]]:
        return self.socket.recvfrom(2048)

    def up(self, packet: bytes, client: tuple[str, int]) -> None:
        """Pass a packet on as a relay does."""
        header = seal_hop_header(
            secret=SECRET,
            key_id=0,
            owner=str(self.plan.owner),
            direction="up",
            flags=0,
            hop_limit=3,
            tick=0,
            client=f"{client[0]}:{client[1]}",
            ingress=0,
            return_hop=None,
        )
        owner = socket.inet_ntoa(self.plan.owner.ip), self.plan.owner.port
        self.socket.sendto(packets.with_payload(header, packet), owner)


def free(kind: socket.SocketKind = socket.SOCK_DGRAM) -> Endpoint:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return Endpoint.parse(f"127.0.0.1:{probe.getsockname()[1]}")


@pytest.fixture
def place() -> Iterator[Place]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as relay:
        relay.bind(("127.0.0.1", 0))
        relay.settimeout(_DEADLINE_SECONDS)
        here = Endpoint.parse(f"127.0.0.1:{relay.getsockname()[1]}")
        plan = Plan(CALLS, SECRET, owner=free(), client_port=free().port, relay=here)
        standins = StandinProcess(plan, ISOLATION)
        try:
            yield Place(plan, relay, standins)
        finally:
            standins.stop()


def test_every_client_sends_media_and_checks_that_name_the_owner(place: Place) -> None:
    place.standins.greet(place.plan.relay)
    numbers: dict[int, list[int]] = {}
    checks: set[tuple[str, int]] = set()
    while len(checks) < CALLS or min(map(len, numbers.values())) < 3:
        packet, client = place.packet()
        which = packets.which_media(packet)
        if which is not None:
            numbers.setdefault(which[0], []).append(which[1])
            continue
        ufrag = packet[24:].partition(b":")[0].decode()
        cluster, address, port, _ = open_token(
            master=SECRET, key_id=0, ufrag=ufrag, unix_seconds=int(time.time())
        )
        assert (cluster, f"{address}:{port}") == (CLUSTER, str(place.plan.owner))
        checks.add(client)
    assert set(numbers) == set(range(CALLS))
    for of_call in numbers.values():
        assert of_call == list(range(of_call[0], of_call[0] + len(of_call)))


def test_the_owner_answers_checks_and_talks_where_the_agent_does(place: Place) -> None:
    place.standins.watch()
    place.standins.greet(place.plan.relay)
    talked: set[int] = set()
    answered: set[bytes] = set()
    while talked < {call for call in range(CALLS) if talks(call)} or len(answered) < CALLS:
        packet, sender = place.packet()
        if sender[1] == place.plan.client_port:
            place.up(packet, sender)
            continue
        for record in packets.records(packet):
            which = packets.which_media(record.payload)
            if which is None:
                assert record.payload[:2] == b"\x01\x01"
                answered.add(record.client)
            else:
                talked.add(which[0])
        # CONFIRM and PATH.
        assert packet[2] & 0x0F == 3
    assert talked == {call for call in range(CALLS) if talks(call)}
    log = place.standins.report()
    assert {call for call, _, _ in log.up_seen} == set(range(CALLS))
    assert log.down_sent
    assert log.down_seen == []


def test_calls_move_to_another_relay_without_a_word(place: Place, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as another:
        another.bind(("127.0.0.1", 0))
        another.settimeout(_DEADLINE_SECONDS)
        place.standins.move(Endpoint.parse(f"127.0.0.1:{another.getsockname()[1]}"))
        moved: set[int] = set()
        while len(moved) < CALLS:
            which = packets.which_media(another.recv(2048))
            if which is not None:
                moved.add(which[0])


def test_newcomers_are_clients_that_are_not_known(place: Place) -> None:
    place.standins.newcomers(200)
    strangers: set[str] = set()
    checks = 0
    while len(strangers) < 6 or not checks:
        packet, (host, _) = place.packet()
        if not host.startswith("127.16.0."):
            strangers.add(host)
            checks += packets.binding_answer(packet) is not None
