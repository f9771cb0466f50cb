"""The pods' network: a namespace for each, routed by one that stands for the cluster's nodes."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from firsthop.bench.errors import SkippedError
from firsthop.bench.process import NetworkProcess
from firsthop.bench.rollout import guard
from firsthop.bench.world import namespaces
from firsthop.bench.world.namespaces import NamespaceError

#: Where kubelets ask from; pods and clients have it as their gateway.
NODE_ADDRESS: Final = "192.168.0.1"
_NODES: Final = "nodes"
#: A whole number of pages: see `Network.tell`.
_HOSTS_BYTES: Final = 4096


def missing() -> str | None:
    """Say what a rehearsal needs and this machine lacks; None when it can be."""
    if os.geteuid() != 0:
        return "network namespaces take root"
    for program, package in (("ip", "iproute2"), ("nft", "nftables"), ("conntrack", "conntrack")):
        if shutil.which(program) is None:
            return f"the program `{program}` is missing: install {package}"
    return None


class Network:
    """Namespaces, and routes between them. A context manager; leaving ends all that runs in them.

    A place is a pod or a client. Each is joined to the nodes by a cable of its own, as most
    network plugins do it.

    Args:
        folder: For the files that places see in /etc.

    Raises:
        SkippedError: This machine lacks something that it needs.
    """

    def __init__(self, folder: Path) -> None:
        if (problem := missing()) is not None:
            raise SkippedError(f"no rehearsal on this machine: {problem}")
        self._owner = os.getpid()
        self._hosts = folder / "hosts"
        self._resolver = folder / "resolv.conf"
        self._cables: dict[str, str] = {}
        self._made = 0

    def __enter__(self) -> Self:
        namespaces.remove_stale()
        self._guard = NetworkProcess("the guard", guard.command(self._owner))
        try:
            self._make_nodes()
        except (NamespaceError, OSError) as error:
            self.close()
            raise SkippedError(f"no rehearsal on this machine: {error}") from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it: what runs in it is killed."""
        self._guard.close()
        # It has done so itself, unless it was killed.
        guard.clean(self._owner)

    def attach(self, place: str, address: str) -> None:
        """Make a place, and join it to the nodes.

        Raises:
            NamespaceError: It cannot be made.
        """
        self._cables[place] = f"pod{self._made}"
        self._made += 1
        try:
            self._join(place, address)
        except NamespaceError:
            self.detach(place)
            raise

    def unplug(self, place: str) -> None:
        """Let nothing in or out of a place any more."""
        with self.on_nodes():
            namespaces.configure([f"link set {self._cables[place]} down"])

    def detach(self, place: str) -> None:
        """Remove a place, and what still runs in it."""
        # The kernel takes a namespace down when it finds the time. Until then its cable would be
        # there, and the route over it: whoever is next at this address would get no other.
        with suppress(NamespaceError), self.on_nodes():
            namespaces.configure([f"link delete {self._cables.pop(place)}"])
        namespaces.remove_named([self._name(place)])
        shutil.rmtree(guard.FILES / self._name(place), ignore_errors=True)

    def within(self, place: str) -> list[str]:
        """Return what goes before a command that is to run in a place."""
        return namespaces.exec_in(self._name(place))

    @contextmanager
    def on_nodes(self) -> Iterator[None]:
        """Have this thread be where kubelets and kube-proxy are. Not across an `await`."""
        with namespaces.inside(self._name(_NODES)):
            yield

    def socket(self) -> socket.socket:
        """Return a TCP socket of the nodes, for asyncio."""
        with self.on_nodes():
            made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.setblocking(False)
        return made

    def tell(self, hosts: str) -> None:
        """Have names lead to addresses, in all places, at once.

        Args:
            hosts: The lines of an ``/etc/hosts``.
        """
        # In one write and of one length, so that whoever reads meanwhile finds the old file or
        # the new. It is the same file: places have it mounted.
        text = hosts.encode()
        assert len(text) < _HOSTS_BYTES, "more names than the rehearsal has room for"
        padded = text.ljust(_HOSTS_BYTES, b"\n")
        handle = os.open(self._hosts, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(handle, padded, 0)
        finally:
            os.close(handle)

    def _make_nodes(self) -> None:
        self.tell("127.0.0.1 localhost\n")
        # Nobody is there: a name that is not in the file is unknown at once.
        self._resolver.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        namespaces.make([self._name(_NODES)])
        with self.on_nodes():
            namespaces.configure(
                ["link set lo up", f"address add {NODE_ADDRESS}/32 dev lo"],
            )
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")

    def _join(self, place: str, address: str) -> None:
        name = self._name(place)
        cable = self._cables[place]
        self._show_files(name)
        namespaces.make([name])
        with self.on_nodes():
            namespaces.configure(
                [
                    f"link add {cable} type veth peer name eth0 netns {name}",
                    f"link set {cable} addrgenmode none",
                    f"link set {cable} up",
                    f"route add {address}/32 dev {cable} src {NODE_ADDRESS}",
                ]
            )
        with namespaces.inside(name):
            namespaces.configure(
                [
                    "link set lo up",
                    # No IPv6: clients would gather a link-local candidate that leads nowhere.
                    "link set eth0 addrgenmode none",
                    f"address add {address}/32 dev eth0",
                    "link set eth0 up",
                    f"route add {NODE_ADDRESS}/32 dev eth0",
                    f"route add default via {NODE_ADDRESS} dev eth0 src {address}",
                ]
            )

    def _show_files(self, name: str) -> None:
        folder = guard.FILES / name
        folder.mkdir(parents=True, exist_ok=True)
        for file in (self._hosts, self._resolver):
            with suppress(FileExistsError):
                (folder / file.name).symlink_to(file.absolute())

    def _name(self, place: str) -> str:
        return namespaces.name_of(self._owner, place)
