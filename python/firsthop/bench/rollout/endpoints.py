"""Which pods are behind a Service, and by which addresses its name leads to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from firsthop.bench.rollout.release import NAMESPACE, Service

_DOMAIN: Final = "cluster.local"


@dataclass(frozen=True, slots=True)
class Backend:
    """A pod with an address, as endpoint slices have it."""

    address: str
    labels: Mapping[str, str]
    ports: Mapping[str, int]
    ready: bool
    """Its Ready condition, which a pod on its way out may have still."""
    leaving: bool


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The pods of one Service."""

    ready: tuple[str, ...]
    """What new connections go to."""
    serving: tuple[str, ...]
    """What may keep those that it has: ready, or leaving and ready still."""
    published: tuple[str, ...]
    """What the name of a headless Service leads to."""

    @property
    def chosen(self) -> tuple[str, ...]:
        """What kube-proxy balances over: those that leave only while there are no others."""
        return self.ready or self.serving


def of(service: Service, backends: Iterable[Backend]) -> Endpoints:
    """Return what is behind a Service."""
    mine = sorted((one for one in backends if service.selects(one.labels)), key=_address)
    serving = tuple(one.address for one in mine if one.ready)
    ready = tuple(one.address for one in mine if one.ready and not one.leaving)
    every = tuple(one.address for one in mine)
    return Endpoints(ready, serving, every if service.not_ready_too else ready)


def hosts(
    services: Sequence[Service],
    endpoints: Mapping[str, Endpoints],
    virtual: Mapping[str, str],
) -> str:
    """Return the lines of an ``/etc/hosts`` that say what the cluster's DNS would.

    Args:
        services: All of them.
        endpoints: By Service.
        virtual: The cluster addresses of those that have one.
    """
    lines = ["127.0.0.1 localhost"]
    for service in services:
        addresses = (
            endpoints[service.name].published if service.headless else (virtual[service.name],)
        )
        lines += [f"{address} {' '.join(_names(service.name))}" for address in addresses]
    return "".join(f"{line}\n" for line in lines)


def _names(name: str) -> Iterable[str]:
    yield name
    for suffix in (NAMESPACE, f"{NAMESPACE}.svc", f"{NAMESPACE}.svc.{_DOMAIN}"):
        yield f"{name}.{suffix}"


def _address(backend: Backend) -> tuple[int, ...]:
    return tuple(map(int, backend.address.split(".")))
