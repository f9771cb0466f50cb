"""Virtual addresses: the kernel's own NAT, with rules as kube-proxy writes them.

A new flow is given a pod by chance, and the kernel's connection tracking keeps it there. Flows of
UDP whose pod serves no longer are forgotten, as kube-proxy has them forgotten: their next packet is
that of a new flow. Clients' addresses are left alone, as with ``externalTrafficPolicy: Local``.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from firsthop.bench.errors import BenchError, SkippedError
from firsthop.bench.rollout.network import Network

_TABLE: Final = "firsthop"
_SECONDS: Final = 10


@dataclass(frozen=True, slots=True)
class Rule:
    """A port of a virtual address, and the pods behind it."""

    address: str
    port: int
    protocol: str
    """``tcp`` or ``udp``."""
    target: int
    """The port of the pods."""
    chosen: tuple[str, ...]
    """The pods that new flows go to."""
    serving: tuple[str, ...]
    """The pods that keep the flows that they have."""


class Balancer:
    """The virtual addresses of a network.

    Raises:
        SkippedError: The kernel cannot translate addresses.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._rules: tuple[Rule, ...] = ()
        try:
            self.set(())
        except BenchError as error:
            raise SkippedError(f"no rehearsal on this machine: {error}") from None

    def set(self, rules: Iterable[Rule]) -> None:
        """Balance by these from now on.

        Raises:
            BenchError: The kernel refuses.
        """
        before, self._rules = self._rules, tuple(rules)
        self._run(["nft", "-f", "-"], ruleset(self._rules))
        for rule, pod in stale(before, self._rules):
            command = ["conntrack", "-D", "-p", "udp", "--orig-dst", rule.address]
            command += ["--orig-port-dst", str(rule.port), "--reply-src", pod]
            # It fails when there is no such flow.
            self._run(command, may_fail=True)

    def _run(self, command: Sequence[str], said: str = "", *, may_fail: bool = False) -> None:
        with self._network.on_nodes():
            done = subprocess.run(
                command, input=said, capture_output=True, text=True, timeout=_SECONDS, check=False
            )
        if done.returncode != 0 and not may_fail:
            raise BenchError(f"`{command[0]}` failed: {done.stderr.strip()}")


def ruleset(rules: Iterable[Rule]) -> str:
    """Return what `nft -f` is told: all rules anew, in one step."""
    lines = [
        f"add table ip {_TABLE}",
        f"add chain ip {_TABLE} services {{ type nat hook prerouting priority dstnat; }}",
        f"flush chain ip {_TABLE} services",
    ]
    for rule in rules:
        if rule.chosen:
            lines.append(
                f"add rule ip {_TABLE} services ip daddr {rule.address} "
                f"{rule.protocol} dport {rule.port} dnat ip to {_choice(rule)}"
            )
    return "".join(f"{line}\n" for line in lines)


def stale(before: Iterable[Rule], after: Iterable[Rule]) -> list[tuple[Rule, str]]:
    """Return the pods whose flows of UDP are to be forgotten, each with its port."""
    serving = {(rule.address, rule.port): rule.serving for rule in after}
    return [
        (rule, pod)
        for rule in before
        if rule.protocol == "udp"
        for pod in rule.serving
        if pod not in serving.get((rule.address, rule.port), ())
    ]


def _choice(rule: Rule) -> str:
    pods = [f"{pod} . {rule.target}" for pod in rule.chosen]
    numbered = ", ".join(f"{number} : {pod}" for number, pod in enumerate(pods))
    return f"numgen random mod {len(pods)} map {{ {numbered} }}"
