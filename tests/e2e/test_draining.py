"""Processes that are told to end while there are calls: what is under way is finished first."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import httpx
import pytest
import yaml

from e2e import http, network
from e2e.network import HOST, LOOPBACK
from e2e.peer import Peer
from e2e.processes import Edge, Process
from e2e.waiting import until
from firsthop.load import Load, door

OFFER = (Path(__file__).parent.parent / "offer.sdp").read_text()
SDP = {"Content-Type": "application/sdp"}
#: Longer than any test.
LONG = 600
CALLERS = 4


async def refuses(process: Process, reason: str = "draining") -> None:
    """Wait until it says that it wants no new calls."""

    async def told() -> bool:
        said: dict[str, object] = (await process.get("/readyz")).json()
        return said == {"ready": False, "reason": reason}

    await until(told, f"/readyz says {reason}")


async def place(process: Process) -> httpx.Response:
    """Place a call whose media nobody connects."""
    async with http.client() as client:
        return await client.post(f"{process.url}/whip", content=OFFER, headers=SDP)


def logged(process: Process, event: str) -> dict[str, object]:
    """The one line of this event."""
    lines = (line for line in process.log.read_text().splitlines() if line.startswith("{"))
    [found] = [line for line in map(json.loads, lines) if line["event"] == event]
    return dict(found)


async def test_a_transceiver_finishes_its_calls_and_then_ends_by_itself(
    edge: Edge, peer: Peer
) -> None:
    await edge.relay()
    transceiver = await edge.transceiver("agents:mirror", transceiver__drain_seconds=LONG)
    await peer.call(transceiver.url)
    transceiver.send(signal.SIGTERM)
    await refuses(transceiver)
    refused = await place(transceiver)
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "draining"
    assert (refused.headers["retry-after"], refused.headers["connection"]) == ("1", "close")
    await peer.round_trip("meanwhile")
    metrics = await transceiver.metrics()
    assert (metrics("draining"), metrics("transceiver_sessions")) == (1, 1)

    await peer.connection.close()
    assert await transceiver.exit_code() == 0
    assert logged(transceiver, "drain.begun")["under_way"] == 1
    assert logged(transceiver, "drain.ended")["left"] == 0


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGINT])
async def test_who_is_told_again_ends_at_once(edge: Edge, again: signal.Signals) -> None:
    transceiver = await edge.transceiver("agents:mirror", transceiver__drain_seconds=LONG)
    assert (await place(transceiver)).status_code == 201
    transceiver.send(signal.SIGTERM)
    await refuses(transceiver)
    transceiver.send(again)
    assert await transceiver.exit_code() == 0
    assert logged(transceiver, "drain.ended")["left"] == 1


async def test_dev_waits_for_nobody(edge: Edge) -> None:
    process = await edge.dev(transceiver__drain_seconds=LONG, relay__drain_seconds=LONG)
    assert (await place(process)).status_code == 201
    process.send(signal.SIGTERM)
    assert await process.exit_code() == 0
    assert "drain." not in process.log.read_text()


async def test_calls_that_are_left_when_time_is_up_are_hung_up(edge: Edge, peer: Peer) -> None:
    await edge.relay()
    transceiver = await edge.transceiver(
        "agents:mirror", transceiver__drain_seconds=0.5, transceiver__handover_seconds=0
    )
    await peer.call(transceiver.url)
    transceiver.send(signal.SIGTERM)
    assert await transceiver.exit_code() == 0
    assert logged(transceiver, "drain.ended")["left"] == 1
    assert logged(transceiver, "call.ended")["reason"] == "hung_up"
    await until(lambda: peer.state == "closed", "the caller is told")


async def test_a_relay_forwards_on_until_it_is_relieved_or_nobody_sends(
    edge: Edge, peer: Peer
) -> None:
    socket = str(edge.folder / "relay.sock")
    relay = await edge.relay(relay__takeover_socket=socket, relay__drain_seconds=LONG)
    transceiver = await edge.transceiver("agents:mirror")
    await peer.call(transceiver.url)
    relay.send(signal.SIGTERM)
    await refuses(relay)
    await peer.round_trip("meanwhile")

    newer = Process(("relay", "--takeover"), relay.settings, relay.http_port, relay.log)
    edge.processes.append(newer)
    await newer.start()
    assert await relay.exit_code() == 0
    await peer.round_trip("after")

    await peer.connection.close()
    newer.send(signal.SIGTERM)
    assert await newer.exit_code() == 0


async def gateway(edge: Edge, *transceivers: Process) -> Process:
    """Start a gateway in front of these."""
    cluster = {"id": 1, "name": "here", "location": [50.1, 8.7], "networks": [f"{LOOPBACK}/32"]}
    cluster["signaling"] = [f"http://{LOOPBACK}:{one.http_port}" for one in transceivers]
    ingress = {"id": 1, "name": "in", "location": [50.1, 8.7]}
    ingress["udp"] = [f"{HOST}:{edge.relay_port}"]
    file = edge.folder / "fleet.yaml"
    file.write_text(yaml.safe_dump({"clusters": [cluster], "ingresses": [ingress]}))
    port = network.ports()
    settings = {"fleet.file": str(file), "gateway.listen": f"{LOOPBACK}:{port}"}
    return await edge._start(("gateway",), settings, port, {"gateway__drain_seconds": LONG})


async def sessions(process: Process) -> int:
    return (await process.metrics())("transceiver_sessions")


async def test_behind_a_gateway_nobody_notices_that_a_transceiver_drains(edge: Edge) -> None:
    await edge.relay()
    first, second = [
        await edge.transceiver("mirror", transceiver__drain_seconds=LONG) for _ in range(2)
    ]
    front = await gateway(edge, first, second)
    url = door(f"{front.url}/whip")
    async with Load(url, callers=CALLERS, rate=40, local=HOST) as before:
        await before.ramp_up()
        assert (await sessions(first), await sessions(second)) == (CALLERS // 2, CALLERS // 2)
        before.measure()
        first.send(signal.SIGTERM)
        async with Load(url, callers=CALLERS, rate=40, local=HOST) as after:
            # From the first moment on, and not only once the gateway knows.
            await after.ramp_up()
            await refuses(first)
            found = after.measured()
            assert (found.stood, found.failures) == (CALLERS, {})
            assert await sessions(first) <= CALLERS // 2
        found = before.measured()
        assert (found.stood, found.failures) == (CALLERS, {})
        assert found.totals["lost"] == 0
    assert await first.exit_code() == 0
    assert logged(first, "drain.ended")["left"] == 0
    # What is about a call that there is goes where it is, whoever else drains.
    placed = await place(front)
    assert placed.status_code == 201
    second.send(signal.SIGTERM)
    await refuses(second)
    async with http.client() as client:
        ended = await client.delete(front.url + placed.headers["location"])
    assert ended.status_code == 200
    assert await second.exit_code() == 0

    front.send(signal.SIGTERM)
    assert await front.exit_code() == 0
