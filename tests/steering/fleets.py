"""Fleets for tests."""

from __future__ import annotations

from typing import Any

from firsthop.fleet.model import Fleet

FRANKFURT, VIRGINIA, SINGAPORE = (50.1, 8.7), (39.0, -77.5), (1.35, 103.8)


def cluster(id: int, location: tuple[float, float], **more: Any) -> dict[str, Any]:
    """Return a cluster with a network of its own."""
    networks = [f"10.{id % 256}.{id // 256}.0/24"]
    return {"id": id, "name": f"c{id}", "location": location, "networks": networks, **more}


def ingress(id: int, location: tuple[float, float], **more: Any) -> dict[str, Any]:
    """Return an ingress point with an address of its own."""
    udp = [f"203.0.113.{id}:3478"]
    return {"id": id, "name": f"i{id}", "location": location, "udp": udp, **more}


def fleet(clusters: list[dict[str, Any]], ingresses: list[dict[str, Any]] | None = None) -> Fleet:
    """Check it as if it came from a file."""
    return Fleet.model_validate({"clusters": clusters, "ingresses": ingresses or []})


WORLD = fleet(
    [cluster(1, FRANKFURT), cluster(2, VIRGINIA)],
    [ingress(1, FRANKFURT), ingress(2, VIRGINIA), ingress(3, SINGAPORE)],
)
