"""A pod: a process in a namespace of its own, brought up, asked and ended as kubelets do it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from firsthop.bench.environment import environment
from firsthop.bench.isolation import put_before_neighbours
from firsthop.bench.rollout.network import NODE_ADDRESS, Network
from firsthop.bench.rollout.release import NAMESPACE, Container, Deployment, Probe
from firsthop.bench.world.namespaces import NamespaceError
from firsthop.tasks import cancel

_FIRSTHOP: Final = (sys.executable, "-c", "from firsthop.cli import main; main()")
_REDIS: Final = ("redis-server",)
_REFERENCE: Final = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")
#: How long a program may take to be gone after SIGKILL.
_KILLED_S: Final = 5.0
_WATCH_S: Final = 0.02


@dataclass(eq=False, kw_only=True)
class Pod:
    """One pod, from its start to its end."""

    name: str
    deployment: Deployment
    revision: int
    node: str
    address: str
    folder: Path
    network: Network = field(repr=False)
    created: float = field(default_factory=time.monotonic)
    started: float | None = None
    """When its process was started; all moments are of `time.monotonic`."""
    ready: bool = False
    first_ready: float | None = None
    ready_since: float | None = None
    deleted: float | None = None
    """When it was told to go."""
    asked_to_end: float | None = None
    """When SIGTERM was sent."""
    unready: float | None = None
    """When it said after that, for the first time, that it was not ready."""
    ended: float | None = None
    status: int | None = None
    """Its exit status."""
    problems: list[str] = field(default_factory=list)
    """What should not have happened to it."""
    lost: bool = False
    """Whether its node is gone, and it with it."""

    def __post_init__(self) -> None:
        self._deletion = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def component(self) -> str:
        """As ``relay``."""
        return self.deployment.component

    def available(self, now: float) -> bool:
        """Whether it has been ready for long enough to count."""
        since = self.ready_since
        return self.ready and since is not None and now - since >= self.deployment.min_ready_s

    def delete(self) -> None:
        """Have it end, as its manifest says."""
        if self.deleted is None:
            self.deleted = time.monotonic()
            self._deletion.set()

    def lose(self) -> None:
        """End it as the death of its node does."""
        self.lost = True
        self.network.unplug(self.name)
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    def said(self) -> str:
        """What it has printed."""
        log = self.folder / "log"
        return log.read_text(errors="replace") if log.exists() else ""

    async def live(self) -> None:
        """Run it until it has ended."""
        self.folder.mkdir(parents=True)
        self._mount()
        try:
            self.network.attach(self.name, self.address)
        except NamespaceError as error:
            self.problems.append(f"no network: {error}")
            self.ended = time.monotonic()
            return
        try:
            await self._run()
        finally:
            self.ready = False
            self.ended = time.monotonic()
            self.network.detach(self.name)

    async def ask(self, path: str, port: int, timeout_s: float) -> tuple[int, str]:
        """Ask it over HTTP, from its node.

        Args:
            path: What for.
            port: Of the pod.
            timeout_s: How long it may take.

        Returns:
            The status and the body of its answer.

        Raises:
            OSError: It does not answer, or not in time, or it is no HTTP.
        """
        probe = self.network.socket()
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.get_running_loop().sock_connect(probe, (self.address, port))
                reader, writer = await asyncio.open_connection(sock=probe)
                try:
                    lines = (f"GET {path} HTTP/1.1", f"Host: {self.address}", "Connection: close")
                    writer.write("".join(f"{line}\r\n" for line in (*lines, "")).encode())
                    return _answer(await reader.read())
                finally:
                    writer.close()
        except TimeoutError:
            raise OSError(f"no answer within {timeout_s:g} s") from None
        finally:
            probe.close()

    async def _run(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.network.within(self.name),
                *self._command(),
                cwd=self.folder,
                env=environment({}) | self._variables(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        put_before_neighbours(self._process.pid)
        self.started = time.monotonic()
        probing = asyncio.create_task(self._probe())
        ending = asyncio.create_task(self._process.wait())
        asked = asyncio.create_task(self._deletion.wait())
        try:
            await asyncio.wait({ending, asked}, return_when=asyncio.FIRST_COMPLETED)
            if self._deletion.is_set():
                await self._end(ending)
        finally:
            if not ending.done():
                self._process.kill()
                await ending
            await cancel(probing, asked)
            self.status = self._process.returncode
        if self.lost:
            return
        if self.deleted is None:
            self.problems.append(f"ended by itself, with status {self.status}")
        elif self.status != 0:
            self.problems.append(f"ended with status {self.status}")

    async def _end(self, ending: asyncio.Task[int]) -> None:
        """The preStop hook, SIGTERM, and SIGKILL when the time is over (of both together)."""
        assert self.deleted is not None and self._process is not None
        deadline = self.deleted + self.deployment.grace_s
        hook_s = min(self.deployment.container.pre_stop_s, self.deployment.grace_s)
        await asyncio.wait({ending}, timeout=hook_s)
        if ending.done():
            return
        self.asked_to_end = time.monotonic()
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        watching = asyncio.create_task(self._watch_readiness())
        await asyncio.wait({ending}, timeout=max(deadline - time.monotonic(), 0))
        await cancel(watching)
        if not ending.done():
            if not self.lost:
                grace_s = self.deployment.grace_s
                self.problems.append(f"killed: it ran on after its grace period of {grace_s:g} s")
            self._process.kill()
            await asyncio.wait({ending}, timeout=_KILLED_S)

    async def _watch_readiness(self) -> None:
        """Notice when it says that it is not ready: sooner than its probe does."""
        probe = self.deployment.container.readiness
        while probe is not None:
            if not await self._succeeds(probe):
                self.unready = time.monotonic()
                return
            await asyncio.sleep(_WATCH_S)

    async def _probe(self) -> None:
        """Ask as the kubelet does: at the start, then whether it is ready, and whether alive."""
        container = self.deployment.container
        if container.startup is not None:
            await self._asked(container.startup, self._began, self._never_began, once=True)
        async with asyncio.TaskGroup() as group:
            if container.readiness is None:
                self._set_ready()
            else:
                group.create_task(
                    self._asked(container.readiness, self._set_ready, self._set_unready)
                )
            if container.liveness is not None:
                group.create_task(self._asked(container.liveness, self._began, self._died))

    async def _asked(
        self,
        probe: Probe,
        succeeded: Callable[[], None],
        failed: Callable[[], None],
        *,
        once: bool = False,
    ) -> None:
        """Ask again and again, and tell when it was so often in a row.

        Args:
            probe: What, and how often.
            succeeded: Called each time that it has.
            failed: Called each time that it has.
            once: Whether to end with the first success.
        """
        await asyncio.sleep(probe.initial_delay_s)
        successes = failures = 0
        while True:
            if await self._succeeds(probe):
                successes, failures = successes + 1, 0
                if successes >= probe.successes:
                    succeeded()
                    if once:
                        return
            else:
                successes, failures = 0, failures + 1
                if failures >= probe.failures:
                    failed()
            await asyncio.sleep(probe.period_s)

    async def _succeeds(self, probe: Probe) -> bool:
        try:
            status, _ = await self.ask(probe.path, probe.port, probe.timeout_s)
        except OSError:
            return False
        return 200 <= status < 400

    def _began(self) -> None:
        pass

    def _never_began(self) -> None:
        self.problems.append("its startup probe failed for good")

    def _died(self) -> None:
        # Kubelets ask no pod that leaves.
        if self.deleted is None and not self.lost:
            self.problems.append("its liveness probe failed: a kubelet would restart it")

    def _set_ready(self) -> None:
        now = time.monotonic()
        if not self.ready:
            self.ready, self.ready_since = True, now
            self.first_ready = self.first_ready or now

    def _set_unready(self) -> None:
        self.ready = False

    def _command(self) -> list[str]:
        container = self.deployment.container
        words = [*container.command, *container.arguments]
        known = self._variables()
        said = [self._placed(_expanded(word, known)) for word in words]
        return [*_program(container, said)]

    def _variables(self) -> dict[str, str]:
        """Return what the container finds in its environment."""
        of_pod = {
            "status.podIP": self.address,
            "status.podIPs": self.address,
            "status.hostIP": NODE_ADDRESS,
            "metadata.name": self.name,
            "metadata.namespace": NAMESPACE,
            "spec.nodeName": self.node,
        }
        found: dict[str, str] = {}
        for variable in self.deployment.container.variables:
            value = variable.value if variable.of_pod is None else of_pod[variable.of_pod]
            found[variable.name] = self._placed(_expanded(value, found))
        return found

    def _placed(self, text: str) -> str:
        """Name the folders of mounts where they are here: pods share this machine's files."""
        mounts = self.deployment.container.mounts
        if not mounts:
            return text
        # The longest first, and in one pass: what was put there is not looked at again.
        paths = sorted((re.escape(mount.path) for mount in mounts), key=len, reverse=True)
        named = re.compile(rf"(?<![\w./-])(?:{'|'.join(paths)})(?![\w.-])")
        return named.sub(lambda found: str(self._mounted(found[0])), text)

    def _mounted(self, path: str) -> Path:
        return (self.folder / "mounts" / path.strip("/").replace("/", "-")).absolute()

    def _mount(self) -> None:
        """Write the files of its ConfigMaps and Secrets; they may name each other."""
        for mount in self.deployment.container.mounts:
            folder = self._mounted(mount.path)
            folder.mkdir(parents=True, exist_ok=True)
            for name, text in mount.files.items():
                (folder / name).write_text(self._placed(text))


def _program(container: Container, said: list[str]) -> list[str]:
    """Return what runs, as the entry point of the image would start it."""
    image = container.image.rpartition("/")[2].partition(":")[0]
    if container.command:
        name, *rest = said
        known: Mapping[str, tuple[str, ...]] = {"firsthop": _FIRSTHOP, "redis-server": _REDIS}
        return [*known.get(os.path.basename(name), (name,)), *rest]
    if image == "redis":
        return said if said[:1] == ["redis-server"] else [*_REDIS, *said]
    return [*_FIRSTHOP, *said]


def _expanded(text: str, known: Mapping[str, str]) -> str:
    """Put values in the place of ``$(NAME)``; what is unknown stays, as in Kubernetes."""
    return _REFERENCE.sub(lambda found: known.get(found[1], found[0]), text)


def _answer(raw: bytes) -> tuple[int, str]:
    head, _, body = raw.partition(b"\r\n\r\n")
    words = head.split(maxsplit=2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise OSError("the answer is no HTTP")
    return int(words[1]), body.decode(errors="replace")
