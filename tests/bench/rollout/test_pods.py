"""Pods: real processes in real namespaces, probed and ended as kubelets do it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from firsthop.bench.rollout.network import Network
from firsthop.bench.rollout.pods import Pod
from firsthop.bench.rollout.release import Container, Deployment, Mount, Probe, Variable

_PATIENCE_S = 20.0
_ADDRESS = "10.244.1.1"
#: Answers with what it was told, and 503 to /readyz from SIGTERM on. The first argument is what it
#: does then, the second a file, the third where it listens.
_SERVER = """
import http.server, os, pathlib, signal, sys, threading
does, file, listen = sys.argv[1:]
class Handler(http.server.BaseHTTPRequestHandler):
    draining = False
    def do_GET(self):
        self.send_response(503 if Handler.draining and self.path == "/readyz" else 200)
        self.end_headers()
        self.wfile.write(pathlib.Path(file).read_bytes())
    def log_message(self, *_): pass
def asked(*_):
    Handler.draining = True
    if does == "end":
        threading.Timer(0.2, os._exit, (0,)).start()
signal.signal(signal.SIGTERM, asked)
if does == "crash":
    sys.exit(3)
http.server.ThreadingHTTPServer((listen, 8080), Handler).serve_forever()
"""


def deployment(does: str, *, grace_s: float = 10.0, pre_stop_s: float = 0.0) -> Deployment:
    """Return one whose pods run the server."""
    often = Probe("/readyz", 8080, period_s=0.05, failures=1)
    return Deployment(
        name="voice",
        component="voice",
        labels={},
        replicas=1,
        max_surge=1,
        max_unavailable=0,
        recreate=False,
        min_ready_s=0.0,
        grace_s=grace_s,
        container=Container(
            image="any",
            command=(sys.executable, "-c", _SERVER),
            arguments=(does, "/etc/voice/settings.yaml", "$(POD_IP)"),
            variables=(Variable("POD_IP", of_pod="status.podIP"),),
            mounts=(Mount("/etc/voice", {"settings.yaml": "file: /etc/voice/other"}),),
            ports={"http": 8080},
            startup=Probe("/healthz", 8080, period_s=0.02, failures=500),
            readiness=often,
            liveness=often,
            pre_stop_s=pre_stop_s,
        ),
    )


@asynccontextmanager
async def living(network: Network, folder: Path, of: Deployment) -> AsyncIterator[Pod]:
    """Run a pod; it has ended with the block."""
    pod = Pod(
        name="pod",
        deployment=of,
        revision=1,
        node="one",
        address=_ADDRESS,
        folder=folder / "pod",
        network=network,
    )
    task = asyncio.create_task(pod.live())
    try:
        yield pod
    finally:
        pod.delete()
        await asyncio.wait_for(task, _PATIENCE_S)


async def until_ready(pod: Pod) -> None:
    await until(lambda: pod.ready or pod.ended)
    assert pod.ready, (pod.problems, pod.said())


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            if holds():
                return
            await asyncio.sleep(0.01)


async def test_a_pod_is_told_what_its_manifest_says_and_is_ready_when_it_says_so(
    network: Network, tmp_path: Path
) -> None:
    async with living(network, tmp_path, deployment("end")) as pod:
        await until_ready(pod)
        # It listens at its own address, and has its file, which names another beside it.
        status, said = await pod.ask("/any", 8080, 5.0)
        assert status == 200
        assert said == f"file: {tmp_path}/pod/mounts/etc-voice/other"
        assert Path(said.removeprefix("file: ")).with_name("settings.yaml").exists()
    assert (pod.status, pod.problems) == (0, [])


async def test_a_pod_that_is_deleted_drains_after_its_hook_and_ends_by_itself(
    network: Network, tmp_path: Path
) -> None:
    async with living(network, tmp_path, deployment("end", pre_stop_s=0.1)) as pod:
        await until_ready(pod)
        pod.delete()
        await until(lambda: pod.ended)
    assert (pod.status, pod.problems, pod.ready) == (0, [], False)
    assert pod.deleted is not None and pod.asked_to_end is not None and pod.ended is not None
    assert pod.unready is not None
    assert pod.deleted + 0.1 <= pod.asked_to_end <= pod.unready <= pod.ended


async def test_a_pod_that_outlives_its_grace_is_killed_and_that_is_told(
    network: Network, tmp_path: Path
) -> None:
    async with living(network, tmp_path, deployment("stay", grace_s=0.3)) as pod:
        await until_ready(pod)
    assert pod.status == -9
    assert any("grace period of 0.3 s" in problem for problem in pod.problems)


async def test_a_pod_that_ends_unasked_is_told(network: Network, tmp_path: Path) -> None:
    async with living(network, tmp_path, deployment("crash")) as pod:
        await until(lambda: pod.ended)
    assert pod.problems == ["ended by itself, with status 3"]


async def test_a_pod_on_a_lost_node_is_gone_at_once_and_that_is_no_fault_of_its_own(
    network: Network, tmp_path: Path
) -> None:
    async with living(network, tmp_path, deployment("end")) as pod:
        await until_ready(pod)
        pod.lose()
        await until(lambda: pod.ended)
    assert (pod.lost, pod.problems) == (True, [])
