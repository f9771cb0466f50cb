"""firsthop all over a world: edges near users, clusters, and a gateway."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from firsthop.bench.world.places import CLUSTER, EDGE, USER
from firsthop.bench.world.services import Service, start, stop
from firsthop.bench.world.world import World

PUBLIC_PORT: Final = 3478
_UPSTREAM_PORT, _SHARD_PORT, _LAST_SHARD_PORT = 3479, 3500, 3509
_HTTP_PORT, _DIRECT_PORT, _GATEWAY_PORT, _HEALTH_PORT = 8080, 8081, 8090, 9478
#: Ingress points that are a cluster's own relays, for who calls it without an edge.
_FIRST_CLUSTER_SITE: Final = 100


class Deployment:
    """The programs, and where clients find them. `start` starts them, `stop` ends them.

    Args:
        world: Where they run.
        folder: For the fleet file and for logs.
        clusters: The regions that have one, and how many relays each has: 1 or 2.
        edges: The regions that have an edge relay.
        gateway: The region that has the gateway; None: there is none.
        backend: Who answers calls.
        state: ``fleet.state`` of all.
        direct: Whether clusters have a transceiver too whose calls come straight to the cluster.
    """

    def __init__(
        self,
        world: World,
        folder: Path,
        *,
        clusters: Mapping[str, int],
        edges: Sequence[str],
        gateway: str | None = None,
        backend: str = "mirror",
        state: str = "memory",
        direct: bool = False,
    ) -> None:
        self.api_key = secrets.token_hex(16)
        self._world = world
        self._folder = folder
        self._names = [region.name for region in world.map.regions]
        self._keys = {name: secrets.token_bytes(32) for name in clusters}
        self._backend = backend
        self._fleet_settings = {
            "LOG_FORMAT": "json",
            "FLEET__FILE": str(folder / "fleet.yaml"),
            "FLEET__STATE": state,
            "FLEET__KEYS": {"0": secrets.token_hex(32)},
        }
        # YAML has all that JSON has.
        (folder / "fleet.yaml").write_text(json.dumps(self._fleet(clusters, edges), indent=1))
        self.cluster_relays = {
            name: [self._cluster_relay(name, number) for number in range(relays)]
            for name, relays in clusters.items()
        }
        self.transceivers = {name: self._transceiver(name) for name in clusters}
        self.direct = {name: self._direct(name) for name in clusters} if direct else {}
        self.edges = {name: self._edge(name) for name in edges}
        self.gateway = None if gateway is None else self._gateway(gateway)

    def services(self) -> Iterator[Service]:
        """Yield all."""
        for relays in self.cluster_relays.values():
            yield from relays
        for of_regions in (self.transceivers, self.direct, self.edges):
            yield from of_regions.values()
        if self.gateway is not None:
            yield self.gateway

    def start(self) -> None:
        """Start all, and wait until they are ready.

        Raises:
            BenchError: One does not come up.
        """
        start(self.services())

    def stop(self) -> None:
        """End what runs of it."""
        stop(self.services())

    def url(self, service: Service) -> str:
        """Return where the HTTP of a transceiver or gateway is."""
        return f"http://{service.health}"

    def headers(self, region: str) -> dict[str, str]:
        """Return what requests of a user in a region carry: the key, and what a CDN adds."""
        latitude, longitude = self._region(region).location
        return {
            "Authorization": f"Bearer {self.api_key}",
            "CF-IPLatitude": str(latitude),
            "CF-IPLongitude": str(longitude),
        }

    def id_of(self, region: str) -> int:
        """Return the id of a region's cluster, and of its edge."""
        return self._names.index(region) + 1

    def key_of(self, region: str) -> bytes:
        """Return the key of a region's cluster."""
        return self._keys[region]

    def public(self, region: str) -> str:
        """Return where clients reach a region's edge."""
        return f"{self._world.address(f'{region}.{EDGE}')}:{PUBLIC_PORT}"

    def _region(self, name: str) -> Any:
        return self._world.map.regions[self._names.index(name)]

    def _fleet(self, clusters: Mapping[str, int], edges: Sequence[str]) -> dict[str, Any]:
        return {
            "clusters": [self._fleet_cluster(name, relays) for name, relays in clusters.items()],
            "ingresses": [self._fleet_ingress(name) for name in edges],
        }

    def _fleet_cluster(self, name: str, relays: int) -> dict[str, Any]:
        return {
            **self._cluster(name),
            "name": name,
            "location": self._region(name).location,
            "relays": [f"{self._host(name, number)}:{_UPSTREAM_PORT}" for number in range(relays)],
            "signaling": [f"http://{self._host(name)}:{_HTTP_PORT}"],
        }

    def _fleet_ingress(self, name: str) -> dict[str, Any]:
        host = self._world.address(f"{name}.{EDGE}")
        return {
            "id": self.id_of(name),
            "name": name,
            "location": self._region(name).location,
            "udp": [self.public(name)],
            "health": [f"http://{host}:{_HEALTH_PORT}"],
        }

    def _cluster(self, name: str) -> dict[str, Any]:
        return {
            "id": self.id_of(name),
            "networks": [f"{self._host(name)}/32"],
            "first_port": _SHARD_PORT,
            "last_port": _LAST_SHARD_PORT,
        }

    def _host(self, region: str, number: int = 0) -> str:
        return self._world.address(f"{region}.{CLUSTER}", number)

    def _common(self, name: str) -> dict[str, object]:
        return {**self._fleet_settings, "KEYS": {"0": self._keys[name].hex()}}

    def _cluster_relay(self, name: str, number: int) -> Service:
        host = self._host(name, number)
        edges = [f"{self._world.address(f'{region}.{EDGE}')}/32" for region in self._names]
        settings = {
            **self._common(name),
            **_relay(host),
            "RELAY__SITE": str(_FIRST_CLUSTER_SITE + 2 * self.id_of(name) + number),
            "RELAY__CLUSTER": str(self.id_of(name)),
            "RELAY__EDGES": edges,
        }
        return self._service("relay", f"{name}.{CLUSTER}", f"{name}-relay-{number}", settings, host)

    def _edge(self, name: str) -> Service:
        from firsthop._native import edge_key

        place = f"{name}.{EDGE}"
        settings = {
            **self._fleet_settings,
            **_relay(self._world.address(place)),
            "RELAY__SITE": str(self.id_of(name)),
            "EDGE_KEYS": {
                str(self.id_of(cluster)): {"keys": {"0": edge_key(master).hex()}}
                for cluster, master in self._keys.items()
            },
        }
        host = self._world.address(place)
        return self._service("relay", place, f"{name}-edge", settings, host)

    def _transceiver(self, name: str) -> Service:
        settings = {
            **self._common(name),
            **self._signaling(name, _HTTP_PORT),
            "TRANSCEIVER__LISTEN": f"{self._host(name)}:{_SHARD_PORT}",
        }
        place, called = f"{name}.{CLUSTER}", f"{name}-transceiver"
        return self._service(
            "transceiver", place, called, settings, self._host(name), port=_HTTP_PORT
        )

    def _direct(self, name: str) -> Service:
        host = self._host(name)
        settings = {
            "LOG_FORMAT": "json",
            "KEYS": {"0": self._keys[name].hex()},
            **self._signaling(name, _DIRECT_PORT),
            "TRANSCEIVER__LISTEN": f"{host}:{_SHARD_PORT + 1}",
            "TRANSCEIVER__ADVERTISE": [f"{host}:{PUBLIC_PORT}"],
        }
        place, called = f"{name}.{CLUSTER}", f"{name}-direct"
        return self._service("transceiver", place, called, settings, host, port=_DIRECT_PORT)

    def _signaling(self, name: str, port: int) -> dict[str, object]:
        return {
            "TRANSCEIVER__CLUSTER": str(self.id_of(name)),
            "SIGNALING__LISTEN": f"{self._host(name)}:{port}",
            "SIGNALING__API_KEYS": [self.api_key],
            "STEERING__TRUSTED_PROXIES": self._cdns(),
            "BACKEND": self._backend,
        }

    def _gateway(self, name: str) -> Service:
        host = self._world.address(f"{name}.{EDGE}")
        settings: Mapping[str, object] = {
            **self._fleet_settings,
            "STEERING__TRUSTED_PROXIES": self._cdns(),
            "GATEWAY__LISTEN": f"{host}:{_GATEWAY_PORT}",
        }
        place = f"{name}.{EDGE}"
        return self._service("gateway", place, "gateway", settings, host, port=_GATEWAY_PORT)

    def _cdns(self) -> list[str]:
        """Whose word counts of where a user is: users say it here themselves, and the gateway."""
        return [
            f"{self._world.address(f'{region}.{role}')}/32"
            for region in self._names
            for role in (USER, EDGE)
        ]

    def _service(
        self,
        kind: str,
        place: str,
        called: str,
        settings: Mapping[str, object],
        host: str,
        *,
        port: int = _HEALTH_PORT,
    ) -> Service:
        health = f"{host}:{port}"
        return Service(self._world, place, kind, called, settings, health, self._folder)


def _relay(host: str) -> dict[str, object]:
    return {
        "RELAY__LISTEN": [f"{host}:{PUBLIC_PORT}"],
        "RELAY__UPSTREAM": f"{host}:{_UPSTREAM_PORT}",
        "RELAY__WORKERS": "1",
        "RELAY__HEALTH_LISTEN": f"{host}:{_HEALTH_PORT}",
    }
