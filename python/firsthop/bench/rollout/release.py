"""A release of the chart, as the rehearsal acts on it: its pods, its Services, its Secrets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import yaml

from firsthop.bench.errors import BenchError

T = TypeVar("T")

#: Where the release lives.
NAMESPACE: Final = "voice"
#: The defaults of Kubernetes' API, for probes.
PERIOD_S, TIMEOUT_S, FAILURES = 10.0, 1.0, 3


@dataclass(frozen=True, slots=True)
class Probe:
    """An HTTP probe."""

    path: str
    port: int
    initial_delay_s: float = 0.0
    period_s: float = PERIOD_S
    timeout_s: float = TIMEOUT_S
    failures: int = FAILURES
    """So many in a row, and it has failed."""
    successes: int = 1
    """So many in a row, and it has succeeded."""


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable."""

    name: str
    value: str = ""
    """May name others, as ``$(POD_IP)``."""
    of_pod: str | None = None
    """Where in the pod it is instead, as ``status.podIP``."""


@dataclass(frozen=True, slots=True)
class Mount:
    """Files of a ConfigMap or Secret in a folder; without files, an empty folder."""

    path: str
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """The one container of a pod."""

    image: str
    command: tuple[str, ...]
    """Empty: what the image starts."""
    arguments: tuple[str, ...]
    variables: tuple[Variable, ...]
    mounts: tuple[Mount, ...]
    ports: Mapping[str, int]
    startup: Probe | None
    readiness: Probe | None
    liveness: Probe | None
    pre_stop_s: float
    """How long the preStop hook sleeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A Deployment, and the pods that it wants."""

    name: str
    component: str
    """``relay``, ``transceiver``, ``gateway``, ``agent`` or ``redis``."""
    labels: Mapping[str, str]
    """Of its pods."""
    replicas: int
    max_surge: int
    max_unavailable: int
    recreate: bool
    """Whether all old pods end before a new one starts."""
    min_ready_s: float
    grace_s: float
    container: Container


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port of a Service."""

    port: int
    target: int | str
    """A port of the pods, or the name of one."""
    protocol: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A Service."""

    name: str
    selector: Mapping[str, str]
    headless: bool
    load_balancer: bool
    local: bool
    """Whether clients' addresses are kept (``externalTrafficPolicy: Local``)."""
    not_ready_too: bool
    """``publishNotReadyAddresses``."""
    ports: tuple[ServicePort, ...]

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether pods with these labels are behind it."""
        return bool(self.selector) and self.selector.items() <= labels.items()


@dataclass(frozen=True, slots=True)
class Chart:
    """All of a release that the rehearsal acts on."""

    deployments: tuple[Deployment, ...]
    services: tuple[Service, ...]
    secrets: Mapping[str, Mapping[str, str]] = field(repr=False)
    """By name: their files."""

    def deployment(self, component: str) -> Deployment:
        """Return the Deployment of a component.

        Raises:
            BenchError: There is none.
        """
        return _one(component, [one for one in self.deployments if one.component == component])

    def service(self, component: str) -> Service:
        """Return the Service in front of a component: the one that is called like its Deployment.

        Raises:
            BenchError: There is none.
        """
        name = self.deployment(component).name
        return _one(component, [one for one in self.services if one.name == name])

    def api_key(self) -> str:
        """Return a key by which calls may be placed.

        Raises:
            BenchError: There is none in any Secret.
        """
        for files in self.secrets.values():
            settings = yaml.safe_load(files.get("transceiver.yaml", "")) or {}
            keys = (settings.get("signaling") or {}).get("api_keys") or ()
            if keys:
                return str(keys[0])
        raise BenchError("the chart makes no API key")


def _one(component: str, found: Sequence[T]) -> T:
    if len(found) != 1:
        raise BenchError(f"expected one of component {component}, the chart has {len(found)}")
    return found[0]
