"""A cluster in small: Deployments followed, endpoints told, names and virtual addresses kept.

What the control plane does in minutes or by many hands is done here in one loop; how long it takes
to notice is set. There are no network policies, no limits of memory or CPU, and no cloud balancer
in front of the nodes.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from firsthop.bench.errors import BenchError
from firsthop.bench.rollout import controller, endpoints
from firsthop.bench.rollout.balancer import Balancer, Rule
from firsthop.bench.rollout.controller import Seen, Wanted
from firsthop.bench.rollout.endpoints import Backend, Endpoints
from firsthop.bench.rollout.network import Network
from firsthop.bench.rollout.pods import Pod
from firsthop.bench.rollout.release import Chart, Deployment, Service
from firsthop.tasks import cancel, raise_failure

_TICK_S: Final = 0.05
_ROLLED_S: Final = 90.0


@dataclass(frozen=True, slots=True)
class Delays:
    """How long a cluster takes to notice."""

    endpoints_s: float = 0.3
    """From a pod's change to new rules and names everywhere."""
    node_s: float = 1.0
    """From the death of a node to its pods being taken off. A real one takes 40 s, and by default
    starts others after 5 min."""


class Cluster:
    """Pods of a chart on nodes. An async context manager; leaving ends them all.

    Args:
        chart: What there is to be.
        network: Where.
        folder: For logs and mounted files.
        public: The relays' public address, which the balancer of their Service has.
        nodes: Names of nodes.
        delays: How long it takes to notice.
    """

    def __init__(
        self,
        chart: Chart,
        network: Network,
        folder: Path,
        *,
        public: str,
        nodes: Sequence[str] = ("one", "two"),
        delays: Delays = Delays(),
    ) -> None:
        self.chart = chart
        self.pods: list[Pod] = []
        """All that there ever were."""
        self._network = network
        self._folder = folder
        self._public = public
        self._nodes = list(nodes)
        self._delays = delays
        self._balancer = Balancer(network)
        self._wanted = {one.name: _wanted(one) for one in chart.deployments}
        self._numbers = itertools.count(1)
        self._tasks: dict[Pod, asyncio.Task[None]] = {}
        self._noticed: set[Pod] = set()
        self._due: list[tuple[float, tuple[Backend, ...]]] = []
        self._known: tuple[Backend, ...] | None = None
        self._virtual = {
            service.name: f"10.96.0.{number}"
            for number, service in enumerate(chart.services, 1)
            if not service.headless
        }

    async def __aenter__(self) -> Self:
        self._apply(())
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        outcomes = await cancel(self._running)
        await cancel(*self._tasks.values())
        raise_failure(outcomes)

    def address(self, component: str) -> tuple[str, int]:
        """Return the virtual address of a component's Service, and its first port."""
        service = self.chart.service(component)
        return self._virtual[service.name], service.ports[0].port

    def of(self, component: str) -> list[Pod]:
        """Return the pods of a component that have not ended."""
        return [pod for pod in self._living() if pod.component == component]

    def scale(self, component: str, by: int) -> None:
        """Want more or fewer pods of a component."""
        name = self.chart.deployment(component).name
        wanted = self._wanted[name]
        self._wanted[name] = replace(wanted, replicas=wanted.replicas + by)

    def upgrade(self, component: str) -> None:
        """Want pods of a new revision of a component."""
        name = self.chart.deployment(component).name
        wanted = self._wanted[name]
        self._wanted[name] = replace(wanted, revision=wanted.revision + 1)

    def lose(self, node: str) -> list[Pod]:
        """Take a node away at once, with all that runs on it; return its pods.

        Raises:
            BenchError: There is no other.
        """
        if self._nodes == [node]:
            raise BenchError("the last node cannot be lost")
        self._nodes.remove(node)
        lost = [pod for pod in self._living() if pod.node == node]
        for pod in lost:
            pod.lose()
        loop = asyncio.get_running_loop()
        loop.call_later(self._delays.node_s, self._noticed.update, lost)
        return lost

    async def settled(self, *components: str, within_s: float = _ROLLED_S) -> None:
        """Wait until all pods are as they should be; without components, those of all.

        Raises:
            BenchError: They are not, in time, or the cluster itself broke.
        """
        names = [
            one.name
            for one in self.chart.deployments
            if not components or one.component in components
        ]
        await self.until(lambda: all(map(self._is_settled, names)), "pods settle", within_s)

    async def until(self, holds: Callable[[], bool], what: str, within_s: float) -> None:
        """Wait until something holds.

        Raises:
            BenchError: It does not, in time, or the cluster itself broke.
        """
        deadline = time.monotonic() + within_s
        while not holds():
            if self._running.done():
                self._running.result()
            if time.monotonic() > deadline:
                raise BenchError(f"{what}: not within {within_s:g} s.\n{self._told()}")
            await asyncio.sleep(_TICK_S)

    def problems(self) -> list[str]:
        """Return what happened to pods and should not have."""
        return [f"{pod.name}: {problem}" for pod in self.pods for problem in pod.problems]

    async def _run(self) -> None:
        while True:
            for deployment in self.chart.deployments:
                self._follow(deployment)
            self._notice()
            await asyncio.sleep(_TICK_S)

    def _living(self) -> list[Pod]:
        return [
            pod
            for pod in self.pods
            if (pod.ended is None if not pod.lost else pod not in self._noticed)
        ]

    def _is_settled(self, name: str) -> bool:
        return controller.is_done(self._wanted[name], self._seen(name))

    def _seen(self, name: str) -> list[Seen]:
        now = time.monotonic()
        return [
            Seen(
                pod.name,
                pod.revision,
                pod.node,
                pod.created,
                pod.ready,
                pod.available(now),
                pod.deleted is not None,
            )
            for pod in self._living()
            if pod.deployment.name == name
        ]

    def _follow(self, deployment: Deployment) -> None:
        wanted = self._wanted[deployment.name]
        decision = controller.decide(wanted, self._seen(deployment.name))
        for _ in range(decision.start):
            self._start(deployment, wanted.revision)
        for pod in self._living():
            if pod.name in decision.delete:
                pod.delete()

    def _start(self, deployment: Deployment, revision: int) -> None:
        number = next(self._numbers)
        name = f"{deployment.name}-{revision}-{number}"
        pod = Pod(
            name=name,
            deployment=deployment,
            revision=revision,
            node=self._emptiest(deployment),
            address=f"10.244.{number // 250}.{number % 250 + 1}",
            folder=self._folder / name,
            network=self._network,
        )
        self.pods.append(pod)
        self._tasks[pod] = asyncio.create_task(pod.live())

    def _emptiest(self, deployment: Deployment) -> str:
        """Choose the node that has the fewest of them, as a topology spread has it."""
        crowd = Counter(
            pod.node for pod in self._living() if pod.deployment is deployment and not pod.deleted
        )
        return min(self._nodes, key=lambda node: (crowd[node], self._nodes.index(node)))

    def _notice(self) -> None:
        """Tell endpoints, some time after they changed."""
        for task in self._tasks.values():
            if task.done():
                task.result()
        now = time.monotonic()
        backends = tuple(
            Backend(
                pod.address,
                pod.deployment.labels,
                pod.deployment.container.ports,
                # Nobody hears of it that a pod on a lost node is not ready.
                pod.ready or pod.lost,
                pod.deleted is not None,
            )
            for pod in self._living()
            if pod.started is not None
        )
        latest = self._due[-1][1] if self._due else self._known
        if backends != latest:
            self._due.append((now + self._delays.endpoints_s, backends))
        while self._due and self._due[0][0] <= now:
            self._apply(self._due.pop(0)[1])

    def _apply(self, backends: tuple[Backend, ...]) -> None:
        self._known = backends
        found = {service.name: endpoints.of(service, backends) for service in self.chart.services}
        self._balancer.set(
            rule
            for service in self.chart.services
            if not service.headless
            for rule in self._rules(service, found[service.name], backends)
        )
        self._network.tell(endpoints.hosts(self.chart.services, found, self._virtual))

    def _rules(self, service: Service, found: Endpoints, backends: Sequence[Backend]) -> list[Rule]:
        addresses = [self._virtual[service.name]]
        if service.load_balancer:
            addresses.append(self._public)
        ports = {name: port for one in backends for name, port in _ports(service, one).items()}
        return [
            Rule(
                address,
                port.port,
                port.protocol.lower(),
                port.target if isinstance(port.target, int) else ports.get(port.target, 0),
                found.chosen,
                found.serving,
            )
            for address in addresses
            for port in service.ports
        ]

    def _told(self) -> str:
        lines = [
            f"{pod.name}: ready {pod.ready}, deleted {pod.deleted is not None}, status {pod.status}"
            for pod in self._living()
        ]
        said = [f"{pod.name}:\n{pod.said()[-1500:]}" for pod in self._living() if not pod.ready]
        return "\n".join((*lines, *self.problems(), *said))


def _wanted(one: Deployment) -> Wanted:
    return Wanted(one.replicas, 1, one.max_surge, one.max_unavailable, one.recreate)


def _ports(service: Service, backend: Backend) -> Mapping[str, int]:
    return backend.ports if service.selects(backend.labels) else {}
