"""How full and draining transceivers share calls, behind one name and one gateway."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import yaml

from firsthop.backends.echo import EchoBackend
from firsthop.config import Settings, SignalingSettings, TransceiverSettings
from firsthop.fleet import names
from firsthop.gateway.service import GatewayService
from firsthop.telemetry.metrics import Metrics
from firsthop.transceiver.service import TransceiverService
from firsthop.webserver import http_config
from gateway.world import OFFER, SDP
from signaling.edge import API_KEY, BEARER, refusal, served

#: How many calls each of the transceivers takes.
ROOM = (2, 3)
NAME = "transceivers.example"
HOSTS = ("127.0.0.1", "127.0.0.2")


class Pods:
    """Two transceivers of which DNS has one name, and a gateway in front of them."""

    def __init__(self) -> None:
        self.services: list[TransceiverService] = []
        self.addresses: list[str] = []
        """What the name stands for."""
        self.metrics = Metrics()
        self.client = httpx.AsyncClient(trust_env=False, verify=False, headers=BEARER)
        """Talks to the gateway."""
        self.gateway: GatewayService

    @property
    def calls(self) -> list[int]:
        """How many calls each has."""
        return [len(service.calls) for service in self.services]

    async def look(self) -> None:
        """Let the gateway ask all how they do."""
        await self.gateway._observer.look()

    async def place(self) -> httpx.Response:
        """Place a call at the gateway."""
        return await self.client.post("/whip", content=OFFER, headers=SDP)

    def counted(self, result: str) -> int:
        """How many requests of the gateway had this result."""
        lines = self.metrics.render().decode().splitlines()
        found = [
            line.split()[-1]
            for line in lines
            if line.startswith("firsthop_gateway_requests_total{") and f'"{result}"' in line
        ]
        return sum(int(float(number)) for number in found)


@pytest.fixture
async def pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pods]:
    found = Pods()

    async def resolve(name: str) -> list[str]:
        assert name == NAME
        return found.addresses

    monkeypatch.setattr(names, "_resolve", resolve)
    with contextlib.ExitStack() as listening:
        first = listening.enter_context(socket.create_server((HOSTS[0], 0)))
        port = first.getsockname()[1]
        listeners = [first, listening.enter_context(socket.create_server((HOSTS[1], port)))]
        file = tmp_path / "fleet.yaml"
        cluster = {"id": 1, "name": "here", "location": [50.1, 8.7], "networks": ["127.0.0.0/8"]}
        cluster["signaling"] = [f"http://{NAME}:{port}"]
        ingress = {"id": 1, "name": "in", "location": [50.1, 8.7], "udp": ["203.0.113.1:3478"]}
        file.write_text(yaml.safe_dump({"clusters": [cluster], "ingresses": [ingress]}))
        key = os.urandom(32).hex()
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(found.client)
            for host, room, listener in zip(HOSTS, ROOM, listeners, strict=True):
                settings = Settings(
                    keys={0: key},
                    fleet={"file": str(file)},
                    signaling=SignalingSettings(api_keys=(API_KEY,), reachable=f"{host}:{port}"),
                    transceiver=TransceiverSettings(
                        listen=f"{host}:0", max_sessions=room, loopback=False
                    ),
                )
                service = TransceiverService(settings, Metrics(), EchoBackend())
                service.start()
                stack.push_async_callback(service.stop)
                found.services.append(service)
                await stack.enter_async_context(served(http_config(service.app()), listener))
            found.addresses += HOSTS
            gateway = GatewayService(Settings(fleet={"file": str(file)}), found.metrics)
            found.gateway = gateway
            stack.push_async_callback(gateway.stop)
            address = await stack.enter_async_context(served(http_config(gateway.app())))
            found.client.base_url = httpx.URL(f"http://{address}")
            yield found


async def test_calls_fill_all_that_have_room_and_then_clients_are_told_to_come_back(
    pods: Pods,
) -> None:
    for _ in range(sum(ROOM)):
        await pods.look()
        assert (await pods.place()).status_code == 201
    assert pods.calls == list(ROOM)
    # Who is full says so before it has to refuse anybody.
    assert pods.counted("full") == 0

    await pods.look()
    full = await pods.place()
    assert refusal(full, 503)["code"] == "overloaded"
    assert int(full.headers["retry-after"]) > 0
    assert pods.calls == list(ROOM)
    told = pods.metrics.render().decode()
    assert 'firsthop_fleet_signaling{cluster="here",state="not_ready"} 2.0' in told


async def test_whom_the_gateway_has_not_asked_lately_may_refuse_and_another_takes_the_call(
    pods: Pods,
) -> None:
    await pods.look()
    for _ in range(sum(ROOM)):
        assert (await pods.place()).status_code == 201
    assert pods.calls == list(ROOM)
    assert pods.counted("full") == 1
    assert (await pods.place()).status_code == 503


async def test_new_calls_go_by_one_that_drains_and_its_own_are_still_found(pods: Pods) -> None:
    await pods.look()
    placed = [await pods.place() for _ in range(2)]
    assert pods.calls == [1, 1]
    pods.services[0].drain(asyncio.get_running_loop().time() + 600)
    # Between two looks, it refuses, and the other one takes the call.
    assert (await pods.place()).status_code == 201
    await pods.look()
    refused = pods.counted("full")
    assert (await pods.place()).status_code == 201
    assert (pods.calls, pods.counted("full")) == ([1, 3], refused)

    drained = asyncio.create_task(pods.services[0].drained())
    for answer in placed:
        assert (await pods.client.delete(answer.headers["location"])).status_code == 200
    await drained
    assert pods.calls[0] == 0


async def test_one_that_appears_takes_calls_and_one_that_is_gone_is_forgotten(pods: Pods) -> None:
    pods.addresses.remove(HOSTS[1])
    await pods.look()
    assert (await pods.place()).status_code == 201
    assert pods.calls == [1, 0]
    pods.addresses.append(HOSTS[1])
    await pods.look()
    for _ in range(2):
        assert (await pods.place()).status_code == 201
    assert pods.calls == [2, 1]
    pods.addresses.remove(HOSTS[0])
    await pods.look()
    for _ in range(2):
        assert (await pods.place()).status_code == 201
    assert pods.calls == [2, 3]


async def test_a_gateway_that_drains_says_so_and_serves_whoever_comes(pods: Pods) -> None:
    await pods.look()
    assert (await pods.client.get("/readyz")).status_code == 200
    pods.gateway.drain(asyncio.get_running_loop().time() + 600)
    assert (await pods.client.get("/readyz")).json() == {"ready": False, "reason": "draining"}
    assert (await pods.place()).status_code == 201
    await pods.gateway.drained()
    assert pods.gateway.under_way == 0
