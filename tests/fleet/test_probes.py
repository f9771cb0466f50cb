"""Who is asked whether it is ready, and what counts as an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from firsthop.fleet.beat import Place
from firsthop.fleet.entrance import Entrance
from firsthop.fleet.model import Fleet, FleetCluster, FleetIngress, Location
from firsthop.fleet.names import Names
from firsthop.fleet.probes import Health, Probes

HERE = Location(50.1, 8.7)
NOW = 1_790_000_000.0
READY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
FULL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}"


class Server:
    """Gives one answer to everybody, and notes what it was asked for."""

    def __init__(self) -> None:
        self.answer: bytes | None = READY
        """None: it never answers."""
        self.asked: list[str] = []
        self.hosts: list[str] = []
        self.connections = 0
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, host, port)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.asked.append(head.split(b" ")[1].decode())
                lines = head.decode("latin-1").lower().split("\r\n")
                self.hosts += [line[6:] for line in lines if line.startswith("host: ")]
                if self.answer is None:
                    await reader.read()
                    return
                writer.write(self.answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def probes() -> AsyncIterator[Probes]:
    probes = Probes()
    yield probes
    await probes.close()


def cluster(*urls: str, id: int = 1) -> FleetCluster:
    network = f"10.{id}.0.0/16"
    return FleetCluster(
        id=id, name=f"c{id}", location=HERE, networks=(network,), signaling=tuple(urls)
    )


def fleet(*clusters: FleetCluster) -> Fleet:
    return Fleet(clusters=clusters)


async def down(probes: Probes, fleet: Fleet) -> bool:
    """Whether the first cluster counts as down after two rounds."""
    for _ in range(2):
        await probes.round(fleet)
    return not probes.health[Place("cluster", fleet.clusters[0].id)].healthy


def test_two_failures_in_a_row_to_leave_and_one_success_to_return() -> None:
    health = Health()
    assert health.healthy
    for answered, healthy in [
        (False, True),
        (True, True),
        (False, True),
        (False, False),
        (False, False),
        (True, True),
    ]:
        health.note(answered, NOW)
        assert health.healthy == healthy
    assert health.seen == NOW


async def test_clusters_and_ingresses_are_asked_whether_they_are_ready(
    probes: Probes, server: Server
) -> None:
    ingress = FleetIngress(
        id=7, name="edge", location=HERE, udp=("192.0.2.1:3478",), health=(server.url + "/",)
    )
    await probes.round(Fleet(clusters=(cluster(server.url),), ingresses=(ingress,)))
    assert server.asked == ["/readyz", "/readyz"]
    assert set(probes.health) == {Place("cluster", 1), Place("ingress", 7)}
    assert all(health.healthy and health.seen for health in probes.health.values())


async def test_a_connection_serves_again(probes: Probes, server: Server) -> None:
    for _ in range(3):
        await probes.round(fleet(cluster(server.url)))
    assert (len(server.asked), server.connections) == (3, 1)


async def test_one_answer_of_several_is_enough(probes: Probes, server: Server) -> None:
    assert not await down(probes, fleet(cluster("http://127.0.0.1:1", server.url)))


async def test_who_has_no_urls_is_not_asked(probes: Probes) -> None:
    await probes.round(fleet(cluster()))
    assert not probes.health


async def test_who_has_left_the_fleet_is_forgotten(probes: Probes) -> None:
    assert await down(probes, fleet(cluster("http://127.0.0.1:1")))
    await probes.round(fleet())
    assert not probes.health


@pytest.mark.parametrize(
    "answer",
    [
        FULL,
        b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000,
        b"HTTP/1.1 999 What\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"\xff\xfe\x00" * 100,
    ],
)
async def test_what_is_no_readiness_is_a_failure(
    probes: Probes, server: Server, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answer = answer
    with monkeypatch.context() as patch:
        patch.setattr("firsthop.fleet.probes._PATIENCE", 0.3)
        assert await down(probes, fleet(cluster(server.url)))
    server.answer = READY
    await probes.round(fleet(cluster(server.url)))
    assert probes.health[Place("cluster", 1)].healthy


async def test_who_never_answers_is_given_up_and_holds_up_nobody(
    probes: Probes, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firsthop.fleet.probes._PATIENCE", 0.05)
    server.answer = None
    other = Server()
    await other.start()
    assert await down(probes, fleet(cluster(server.url), cluster(other.url, id=2)))
    assert probes.health[Place("cluster", 2)].healthy
    await other.stop()


async def test_a_name_stands_for_all_its_addresses_and_each_is_asked() -> None:
    addresses = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]

    async def resolve(name: str) -> list[str]:
        assert name == "pods.example"
        return addresses

    ready, full = Server(), Server()
    await ready.start()
    await full.start("127.0.0.2", ready.port)
    full.answer = FULL
    probes = Probes(Names(resolve))
    here = cluster(f"http://pods.example:{ready.port}/")
    try:
        assert probes.entrances(here) == ()
        await probes.round(fleet(here))
        assert probes.entrances(here) == tuple(
            Entrance(f"http://{address}:{ready.port}", "pods.example", state)
            for address, state in zip(addresses, (True, False, None), strict=True)
        )
        assert probes.health[Place("cluster", 1)].healthy
        assert ready.hosts == full.hosts == [f"pods.example:{ready.port}"]

        del addresses[0]
        await probes.round(fleet(here))
        assert [one.ready for one in probes.entrances(here)] == [False, None]
        await probes.round(fleet(here))
        assert not probes.health[Place("cluster", 1)].healthy, "nobody wants calls"
        await probes.round(fleet())
        assert probes.entrances(here) == ()
    finally:
        await probes.close()
        await ready.stop()
        await full.stop()


async def test_two_urls_for_one_address_are_one(probes: Probes, server: Server) -> None:
    here = cluster(server.url, server.url + "/")
    await probes.round(fleet(here))
    assert probes.entrances(here) == (Entrance(server.url, None, True),)
    assert server.asked == ["/readyz"]
