"""The rehearsal's network and its virtual addresses, in real namespaces, by the real kernel."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from firsthop.bench.rollout import guard
from firsthop.bench.rollout.balancer import Balancer, Rule
from firsthop.bench.rollout.network import NODE_ADDRESS, Network
from firsthop.bench.world import namespaces
from firsthop.bench.world.namespaces import NamespaceError

_VIRTUAL = "203.0.113.10"
_PORT = 3478
_PODS = {"a": "10.244.0.1", "b": "10.244.0.2"}
_CLIENT = "198.51.100.7"
_PATIENCE_S = 10.0


@pytest.fixture(scope="module", autouse=True)
def places(network: Network) -> None:
    """Make two pods and a client."""
    for place, address in (*_PODS.items(), ("client", _CLIENT)):
        network.attach(place, address)


def bound(place: str, address: str = "0.0.0.0", port: int = _PORT) -> socket.socket:
    """Return a UDP socket in a place."""
    with namespaces.inside(namespaces.name_of(os.getpid(), place)):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(_PATIENCE_S)
    made.bind((address, port))
    return made


def rule(*chosen: str, serving: tuple[str, ...] | None = None) -> Rule:
    return Rule(_VIRTUAL, _PORT, "udp", _PORT, chosen, chosen if serving is None else serving)


def answers(client: socket.socket, pods: dict[str, socket.socket], only: str) -> None:
    """Assert that a packet to the virtual address reaches one pod, and that its answer is known."""
    client.sendto(b"there", (_VIRTUAL, _PORT))
    said, source = pods[only].recvfrom(100)
    # The pod sees the client itself, and the client sees the virtual address.
    assert (said, source) == (b"there", client.getsockname())
    pods[only].sendto(b"back", source)
    assert client.recvfrom(100) == (b"back", (_VIRTUAL, _PORT))


def test_a_flow_stays_with_its_pod_while_that_serves_and_moves_when_it_does_not(
    network: Network,
) -> None:
    balancer = Balancer(network)
    pods = {place: bound(place) for place in _PODS}
    client, newcomer = (bound("client", _CLIENT, port) for port in (40_001, 40_002))
    try:
        balancer.set([rule(_PODS["a"])])
        answers(client, pods, "a")
        # It leaves, and serves what it has.
        balancer.set([rule(_PODS["b"], serving=(_PODS["a"], _PODS["b"]))])
        answers(client, pods, "a")
        answers(newcomer, pods, "b")
        balancer.set([rule(_PODS["b"])])
        answers(client, pods, "b")
        answers(newcomer, pods, "b")
    finally:
        for one in (*pods.values(), client, newcomer):
            one.close()


def test_flows_are_spread_over_pods(network: Network) -> None:
    balancer = Balancer(network)
    balancer.set([rule(*_PODS.values())])
    pods = {place: bound(place) for place in _PODS}
    clients = [bound("client", _CLIENT, 41_000 + number) for number in range(64)]
    try:
        for client in clients:
            client.sendto(b"x", (_VIRTUAL, _PORT))
        # By chance: that one of the two gets none of 64 does not happen.
        for one in pods.values():
            assert one.recv(10) == b"x"
    finally:
        for one in (*pods.values(), *clients):
            one.close()


def test_names_change_in_all_places_at_once(network: Network) -> None:
    ask = "import socket; print(sorted({a[4][0] for a in socket.getaddrinfo('pods', 80)}))"
    for addresses in (["10.244.0.1"], ["10.244.0.1", "10.244.0.2"]):
        network.tell("".join(f"{address} pods pods.voice\n" for address in addresses))
        for place in _PODS:
            command = [*network.within(place), "python3", "-c", ask]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            assert said.strip() == str(addresses)


def test_a_pod_that_is_unplugged_hears_nothing(network: Network) -> None:
    network.attach("c", "10.244.0.3")
    reached = bound("c")
    try:
        with network.on_nodes(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as node:
            node.sendto(b"x", ("10.244.0.3", _PORT))
            assert reached.recvfrom(10)[1][0] == NODE_ADDRESS
            network.unplug("c")
            with pytest.raises(OSError):
                node.sendto(b"x", ("10.244.0.3", _PORT))
    finally:
        reached.close()
        network.detach("c")
    assert not (guard.FILES / namespaces.name_of(os.getpid(), "c")).exists()


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    owner = subprocess.Popen(["sleep", "60"])
    try:
        name = namespaces.name_of(owner.pid, "pod")
        namespaces.make([name])
        (guard.FILES / name).mkdir(parents=True)
        inside = subprocess.Popen([*namespaces.exec_in(name), "sleep", "60"])
        left = subprocess.Popen(guard.command(owner.pid), stdin=subprocess.PIPE)
        assert left.stdin is not None
        left.stdin.close()
        assert left.wait(_PATIENCE_S) == 0
        assert inside.wait(_PATIENCE_S) != 0
        assert not (guard.FILES / name).exists()
    finally:
        owner.kill()
        owner.wait()


def test_an_address_is_free_as_soon_as_its_place_is_gone(network: Network) -> None:
    for _ in range(10):
        network.attach("guest", "10.244.0.3")
        network.detach("guest")


def test_a_place_that_could_not_be_made_leaves_nothing_behind(network: Network) -> None:
    with pytest.raises(NamespaceError, match="File exists"):
        network.attach("guest", _PODS["a"])
    network.attach("guest", "10.244.0.3")
    network.detach("guest")
