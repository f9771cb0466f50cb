"""Two clusters of one transceiver each, with keys of their own, behind one gateway.

All of it is real and speaks HTTP over loopback, but for the media: nobody connects the calls.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from firsthop.backends.echo import EchoBackend
from firsthop.config import Settings, SignalingSettings, SteeringSettings, TransceiverSettings
from firsthop.gateway.service import GatewayService
from firsthop.telemetry.metrics import Metrics
from firsthop.transceiver.service import TransceiverService
from firsthop.webserver import http_config
from signaling.edge import API_KEY, BEARER, served

OFFER = (Path(__file__).parent.parent / "offer.sdp").read_text()
SDP = {"Content-Type": "application/sdp"}
#: The client is near the cluster of that number.
NEAR: Mapping[int, Mapping[str, str]] = {
    1: {"Firsthop-Location": "48.9,2.4"},
    2: {"Firsthop-Location": "40.7,-74.0"},
}
_PLACES = {1: [50.1, 8.7], 2: [39.0, -77.5]}


class World:
    """The gateway and its clusters."""

    def __init__(self, folder: Path, client: httpx.AsyncClient) -> None:
        self.client = client
        """Talks to the gateway, with an API key."""
        self.transceivers: dict[int, TransceiverService] = {}
        """By cluster."""
        self.addresses: dict[int, str] = {}
        """Where their signaling is."""
        self.metrics = Metrics()
        """The gateway's."""
        self.folder = folder

    @property
    def address(self) -> str:
        """Where the gateway is."""
        return f"{self.client.base_url.host}:{self.client.base_url.port}"

    def calls(self, cluster: int) -> int:
        """How many calls a cluster has."""
        return len(self.transceivers[cluster].calls)

    def counted(self, cluster: int | str, result: str) -> int:
        """How many requests had this result."""
        name = f'firsthop_gateway_requests_total{{cluster="{cluster}",result="{result}"}} '
        lines = self.metrics.render().decode().splitlines()
        return int(float(next((line[len(name) :] for line in lines if line.startswith(name)), 0)))

    async def place(self, near: int, **headers: str) -> httpx.Response:
        """Place a call as WHIP does."""
        return await self.client.post(
            "/whip", content=OFFER, headers={**SDP, **NEAR[near], **headers}
        )


@contextlib.asynccontextmanager
async def world(
    folder: Path,
    *,
    secret_keys: bool = True,
    keyless: bool = False,
    max_sessions: Mapping[int, int] | None = None,
    signaling: Mapping[int, list[str]] | None = None,
    up: tuple[int, ...] = (1, 2),
) -> AsyncIterator[World]:
    """Run two clusters and a gateway.

    Args:
        folder: For the fleet file.
        secret_keys: Whether the clusters share keys for client secrets.
        keyless: Whether they have no API keys.
        max_sessions: How many calls a cluster takes.
        signaling: More URLs of a cluster, before its own.
        up: The clusters that run.
    """
    listeners = {id_: socket.create_server(("127.0.0.1", 0)) for id_ in (1, 2)}
    where = {id_: "{}:{}".format(*one.getsockname()) for id_, one in listeners.items()}
    file = folder / "fleet.yaml"
    file.write_text(yaml.safe_dump(_fleet(where, signaling or {})))
    shared: dict[str, Any] = {"secret_keys": {0: os.urandom(32).hex()}} if secret_keys else {}
    shared |= {"api_keys": () if keyless else (API_KEY,)}
    fleet = {"file": str(file)}
    async with contextlib.AsyncExitStack() as stack:
        gateway_metrics = Metrics()
        client = httpx.AsyncClient(trust_env=False, verify=False, headers={} if keyless else BEARER)
        await stack.enter_async_context(client)
        found = World(folder, client)
        found.metrics, found.addresses = gateway_metrics, where
        for id_ in (1, 2):
            if id_ not in up:
                listeners[id_].close()
                continue
            settings = Settings(
                keys={0: os.urandom(32).hex()},
                fleet=fleet,
                signaling=SignalingSettings(reachable=where[id_], **shared),
                transceiver=TransceiverSettings(
                    listen="127.0.0.1:0",
                    cluster=id_,
                    max_sessions=(max_sessions or {}).get(id_, 10),
                    loopback=False,
                ),
            )
            service = TransceiverService(settings, Metrics(), EchoBackend())
            service.start()
            stack.push_async_callback(service.stop)
            found.transceivers[id_] = service
            config = http_config(service.app())
            await stack.enter_async_context(served(config, listeners[id_]))
        settings = Settings(fleet=fleet, steering=SteeringSettings())
        gateway = GatewayService(settings, gateway_metrics)
        gateway.start()
        stack.push_async_callback(gateway.stop)
        address = await stack.enter_async_context(served(http_config(gateway.app())))
        client.base_url = httpx.URL(f"http://{address}")
        yield found


def _fleet(where: Mapping[int, str], more: Mapping[int, list[str]]) -> dict[str, Any]:
    return {
        "clusters": [
            {
                "id": id_,
                "name": f"c{id_}",
                "location": _PLACES[id_],
                "networks": [f"127.0.{id_}.0/24"],
                "signaling": [*more.get(id_, []), f"http://{where[id_]}"],
            }
            for id_ in (1, 2)
        ],
        "ingresses": [
            {
                "id": id_,
                "name": f"i{id_}",
                "location": _PLACES[id_],
                "udp": [f"203.0.113.{id_}:3478"],
                "tcp": [f"203.0.113.{id_}:443"],
            }
            for id_ in (1, 2)
        ],
    }
