"""A Kubernetes control plane on loopback: etcd, API server, controllers, scheduler, and kwok.

Everything that decides about objects is the real thing: what the API server admits, what the
controllers make of it, where the scheduler puts it. kwok plays the nodes: it says of every pod
that it runs and is ready, and runs nothing.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

#: Names the folder of the programs, if `make kube-tools` did not make them and PATH has none.
BINARIES = "FIRSTHOP_TEST_KUBE_BINARIES"
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")
TOOLS = Path(__file__).resolve().parents[2] / ".tools"

_HOST = "127.0.0.1"
_NODES = Path(__file__).with_name("nodes.yaml")
#: Generous: it only decides how long it takes until a start that fails has failed.
_START_SECONDS = 90.0
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.05
_LOG_LINES = 20


def programs() -> dict[str, str]:
    """Return where each of `PROGRAMS` is.

    Raises:
        FileNotFoundError: One is missing; the message tells which, and the way out.
    """
    folders = [os.environ.get(BINARIES), str(TOOLS / "bin"), os.environ.get("PATH")]
    path = os.pathsep.join(filter(None, folders))
    found = {name: shutil.which(name, path=path) for name in PROGRAMS}
    missing = [name for name, where in found.items() if where is None]
    if missing:
        raise FileNotFoundError(
            f"no {', '.join(missing)}: `make kube-tools` builds them, once (Go, ten minutes), or"
            f" {BINARIES} names their folder"
        )
    return {name: where for name, where in found.items() if where is not None}


class ControlPlane:
    """One control plane with ports, certificates and a folder of its own; ends with `close`.

    Args:
        folder: Takes its data, keys and logs.
        programs: Where each of `PROGRAMS` is.
        nodes: How many nodes it has, each in a zone of its own.
    """

    def __init__(self, folder: Path, programs: Mapping[str, str], nodes: int = 3) -> None:
        self.kubeconfig = folder / "kubeconfig"
        self._folder = folder
        self._programs = programs
        self._nodes = nodes
        self._token = secrets.token_hex(16)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._ports = _free_ports("etcd", "peers", "api", "controllers", "scheduler", "kwok")
        self._etcd = f"http://{_HOST}:{self._ports['etcd']}"
        self._url = f"https://{_HOST}:{self._ports['api']}"
        # The API server makes this one itself.
        self._certificate = folder / "api-server" / "apiserver.crt"
        self._crds = Path(programs["kube-apiserver"]).parents[1] / "crds"
        self._service_accounts = folder / "service-accounts.pem"

    @property
    def has_custom_kinds(self) -> bool:
        """Whether it knows the kinds of the Gateway API and of the Prometheus operator."""
        return self._crds.is_dir()

    def connection(self) -> dict[str, Any]:
        """Return what an `httpx` client of its API server, with all rights, is made with."""
        return {
            "base_url": self._url,
            "headers": {"authorization": f"Bearer {self._token}"},
            "verify": ssl.create_default_context(cafile=str(self._certificate)),
            "trust_env": False,
            "timeout": _START_SECONDS,
        }

    def start(self) -> None:
        """Start it, and wait until its nodes are ready for pods.

        Raises:
            AssertionError: A program ended, or did not get ready; with the end of its log.
        """
        self._start_etcd()
        self._start_api_server()
        self._write_kubeconfig()
        self._start_controllers()
        self._start_nodes()
        self._add_kinds()

    def close(self) -> None:
        """End everything that runs, the newest first."""
        for process in reversed(self._running.values()):
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()

    def _start_etcd(self) -> None:
        peers = f"http://{_HOST}:{self._ports['peers']}"
        self._start(
            "etcd",
            data_dir=self._folder / "etcd",
            listen_client_urls=self._etcd,
            advertise_client_urls=self._etcd,
            listen_peer_urls=peers,
            initial_advertise_peer_urls=peers,
            initial_cluster=f"default={peers}",
            # Nothing has to survive the machine.
            unsafe_no_fsync="true",
            log_level="warn",
        )
        with httpx.Client(trust_env=False, timeout=_START_SECONDS) as client:
            self._until("etcd", lambda: _answers(client, f"{self._etcd}/readyz"))

    def _start_api_server(self) -> None:
        self._service_accounts.write_bytes(_private_key())
        tokens = self._folder / "tokens.csv"
        tokens.write_text(f"{self._token},admin,admin,system:masters\n")
        self._start(
            "kube-apiserver",
            etcd_servers=self._etcd,
            bind_address=_HOST,
            advertise_address=_HOST,
            secure_port=self._ports["api"],
            cert_dir=self._certificate.parent,
            authorization_mode="RBAC",
            token_auth_file=tokens,
            service_account_issuer="https://kubernetes.default.svc",
            service_account_key_file=self._service_accounts,
            service_account_signing_key_file=self._service_accounts,
            service_cluster_ip_range="10.96.0.0/16",
            # Its own address is loopback, which no Service may have as an endpoint.
            endpoint_reconciler_type="none",
        )
        self._until("kube-apiserver", self._certificate.exists)
        with httpx.Client(**self.connection()) as api:
            self._until("kube-apiserver", lambda: _answers(api, "/readyz"))

    def _start_controllers(self) -> None:
        self._start(
            "kube-controller-manager",
            kubeconfig=self.kubeconfig,
            leader_elect="false",
            bind_address=_HOST,
            secure_port=self._ports["controllers"],
            cert_dir=self._folder / "controllers",
            service_account_private_key_file=self._service_accounts,
            root_ca_file=self._certificate,
            horizontal_pod_autoscaler_sync_period="1s",
        )
        self._start(
            "kube-scheduler",
            kubeconfig=self.kubeconfig,
            leader_elect="false",
            bind_address=_HOST,
            secure_port=self._ports["scheduler"],
            cert_dir=self._folder / "scheduler",
        )

    def _start_nodes(self) -> None:
        self._start(
            "kwok",
            config=_NODES,
            kubeconfig=self.kubeconfig,
            manage_all_nodes="true",
            # Without, nodes count as lost after 40 s.
            node_lease_duration_seconds=40,
            node_ip=_HOST,
            node_port=self._ports["kwok"],
            server_address=f"{_HOST}:{self._ports['kwok']}",
            cidr="10.244.0.0/16",
        )
        with httpx.Client(**self.connection()) as api:
            for number in range(self._nodes):
                api.post("/api/v1/nodes", json=_node(number)).raise_for_status()
            self._until("kwok", lambda: _all(api, "/api/v1/nodes", "Ready"))

    def _add_kinds(self) -> None:
        kinds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        with httpx.Client(**self.connection()) as api:
            for file in sorted(self._crds.glob("*.yaml")):
                api.post(
                    kinds,
                    content=file.read_bytes(),
                    headers={"content-type": "application/yaml"},
                ).raise_for_status()
            self._until("kube-apiserver", lambda: _all(api, kinds, "Established"))

    def _write_kubeconfig(self) -> None:
        cluster = {"server": self._url, "certificate-authority": str(self._certificate)}
        contents = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"token": self._token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }
        self.kubeconfig.touch(mode=0o600)
        # JSON is YAML.
        self.kubeconfig.write_text(json.dumps(contents))

    def _start(self, program: str, **options: object) -> None:
        words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        with self._log(program).open("wb") as log:
            self._running[program] = subprocess.Popen(
                [self._programs[program], *words],
                cwd=self._folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _log(self, program: str) -> Path:
        return self._folder / f"{program}.log"

    def _until(self, program: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not condition():
            over = self._running[program].poll() is not None or time.monotonic() > deadline
            lines = self._log(program).read_text(errors="replace").splitlines() if over else []
            assert not over, "\n".join([f"{program} did not start:", *lines[-_LOG_LINES:]])
            time.sleep(_POLL_SECONDS)


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _node(number: int) -> dict[str, Any]:
    labels = {
        "kubernetes.io/hostname": f"node-{number}",
        "kubernetes.io/os": "linux",
        "topology.kubernetes.io/zone": f"zone-{number}",
    }
    metadata = {"name": f"node-{number}", "labels": labels}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata}


def _all(api: httpx.Client, url: str, condition: str) -> bool:
    """Return whether each of the objects of a kind says that a condition of it is true."""
    told = [each.get("status", {}).get("conditions", []) for each in api.get(url).json()["items"]]
    wanted = (condition, "True")
    return all(any((each["type"], each["status"]) == wanted for each in one) for one in told)


def _private_key() -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _free_ports(*names: str) -> dict[str, int]:
    with ExitStack() as held:
        # Held together, so that no two are the same.
        probes = [held.enter_context(socket.socket()) for _ in names]
        for probe in probes:
            probe.bind((_HOST, 0))
        return {name: probe.getsockname()[1] for name, probe in zip(names, probes, strict=True)}
