"""Which pods are behind Services, and what names lead to."""

from __future__ import annotations

from firsthop.bench.rollout import balancer, endpoints
from firsthop.bench.rollout.balancer import Rule
from firsthop.bench.rollout.endpoints import Backend, Endpoints
from firsthop.bench.rollout.release import Service, ServicePort

_LABELS = {"component": "relay"}
_SERVICE = Service(
    name="voice-relay",
    selector=_LABELS,
    headless=False,
    load_balancer=True,
    local=True,
    not_ready_too=False,
    ports=(ServicePort(3478, 3478, "UDP"),),
)
_HEADLESS = Service(
    name="voice-transceiver",
    selector=_LABELS,
    headless=True,
    load_balancer=False,
    local=False,
    not_ready_too=True,
    ports=(ServicePort(8080, "http", "TCP"),),
)


def pod(address: str, *, ready: bool = True, leaving: bool = False) -> Backend:
    return Backend(address, _LABELS, {}, ready, leaving)


def rule(*chosen: str, serving: tuple[str, ...] | None = None, protocol: str = "udp") -> Rule:
    return Rule(
        "203.0.113.10", 3478, protocol, 3478, chosen, chosen if serving is None else serving
    )


def test_new_flows_go_to_pods_that_are_ready_and_stay() -> None:
    pods = [
        pod("10.0.0.10"),
        pod("10.0.0.9"),
        pod("10.0.0.3", ready=False),
        pod("10.0.0.4", leaving=True),
        Backend("10.0.0.5", {"component": "agent"}, {}, True, False),
    ]
    found = endpoints.of(_SERVICE, pods)
    assert found == Endpoints(
        ready=("10.0.0.9", "10.0.0.10"),
        serving=("10.0.0.4", "10.0.0.9", "10.0.0.10"),
        published=("10.0.0.9", "10.0.0.10"),
    )
    assert found.chosen == found.ready


def test_pods_that_leave_take_new_flows_only_while_there_are_no_others() -> None:
    leaving = pod("10.0.0.4", leaving=True)
    assert endpoints.of(_SERVICE, [leaving]).chosen == ("10.0.0.4",)
    assert endpoints.of(_SERVICE, [leaving, pod("10.0.0.5")]).chosen == ("10.0.0.5",)


def test_a_name_leads_to_pods_that_are_not_ready_if_the_service_says_so() -> None:
    pods = [pod("10.0.0.1", ready=False), pod("10.0.0.2", leaving=True)]
    assert endpoints.of(_HEADLESS, pods).published == ("10.0.0.1", "10.0.0.2")
    assert endpoints.of(_SERVICE, pods).published == ()


def test_names_are_short_and_long_and_lead_to_all_pods_or_to_the_virtual_address() -> None:
    found = {
        "voice-relay": Endpoints((), (), ()),
        "voice-transceiver": Endpoints((), (), ("10.0.0.1", "10.0.0.2")),
    }
    text = endpoints.hosts([_SERVICE, _HEADLESS], found, {"voice-relay": "10.96.0.1"})
    addresses: dict[str, list[str]] = {}
    for line in text.splitlines():
        address, *names = line.split()
        for name in names:
            addresses.setdefault(name, []).append(address)
    assert addresses["localhost"] == ["127.0.0.1"]
    assert addresses["voice-relay"] == ["10.96.0.1"]
    long = "voice-transceiver.voice.svc.cluster.local"
    assert addresses["voice-transceiver"] == addresses[long] == ["10.0.0.1", "10.0.0.2"]


def test_flows_of_pods_that_serve_no_longer_are_forgotten_and_of_those_that_do_are_not() -> None:
    before = [rule("10.0.0.1", "10.0.0.2", "10.0.0.3")]
    after = [rule("10.0.0.1", serving=("10.0.0.1", "10.0.0.2"))]
    assert [address for _, address in balancer.stale(before, after)] == ["10.0.0.3"]
    assert [address for _, address in balancer.stale(before, [])] == [
        "10.0.0.1",
        "10.0.0.2",
        "10.0.0.3",
    ]


def test_connections_of_tcp_are_left_alone() -> None:
    assert balancer.stale([rule("10.0.0.1", protocol="tcp")], []) == []


def test_a_port_without_pods_has_no_rule() -> None:
    assert "dnat" not in balancer.ruleset([rule()])
    assert "udp dport 3478 dnat" in balancer.ruleset([rule("10.0.0.1")])
