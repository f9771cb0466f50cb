"""Who may talk to whom: docs/kubernetes.md has the same table."""

from __future__ import annotations

import pytest

from deploy import chart

ANYBODY = "anybody"
#: From, to, protocol, port. What is not here is not allowed.
TABLE = {
    (ANYBODY, "relay", "UDP", "3478"),
    (ANYBODY, "gateway", "TCP", "8080"),
    ("relay", "transceiver", "UDP", "3500"),
    ("transceiver", "relay", "UDP", "3479"),
    ("gateway", "transceiver", "TCP", "8080"),
    ("transceiver", "transceiver", "TCP", "8080"),
    ("transceiver", "agent", "TCP", "8081"),
    ("relay", "redis", "TCP", "6379"),
    ("transceiver", "redis", "TCP", "6379"),
    ("gateway", "redis", "TCP", "6379"),
    ("agent", ANYBODY, "any", "any"),
}
DNS = {("UDP", "53"), ("TCP", "53")}


def allowed(objects: tuple[chart.Object, ...], way: str) -> set[tuple[str, str, str, str]]:
    """Return what the policies allow one way, `ingress` or `egress`; DNS is left out."""
    found = set()
    for policy in chart.of_kind(objects, "NetworkPolicy").values():
        spec = policy["spec"]
        assert spec["policyTypes"] == ["Ingress", "Egress"]
        part = spec["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        for rule in spec[way]:
            for protocol, port in ports(objects, rule, part, way):
                for peer in peers(rule.get("from" if way == "ingress" else "to")):
                    if (protocol, port) in DNS:
                        continue
                    pair = (peer, part) if way == "ingress" else (part, peer)
                    found.add((*pair, protocol, port))
    return found


def peers(entries: list[chart.Object] | None) -> list[str]:
    """Return the parts, or networks, that a rule names."""
    if entries is None:
        return [ANYBODY]
    named = []
    for entry in entries:
        if "ipBlock" in entry:
            named.append(entry["ipBlock"]["cidr"])
        elif "podSelector" in entry:
            assert entry["podSelector"]["matchLabels"]["app.kubernetes.io/instance"] == "r"
            (expression,) = entry["podSelector"]["matchExpressions"]
            named += expression["values"]
        else:
            named.append(str(entry))
    return named


def ports(
    objects: tuple[chart.Object, ...], rule: chart.Object, part: str, way: str
) -> list[tuple[str, str]]:
    """Return protocol and port of a rule, names resolved as the peers' containers have them."""
    if "ports" not in rule:
        return [("any", "any")]
    targets = [part] if way == "ingress" else peers(rule.get("to"))
    numbers = []
    for port in rule["ports"]:
        if isinstance(port["port"], str):
            for target in targets:
                (one,) = (
                    one
                    for one in chart.container(objects, target)["ports"]
                    if one["name"] == port["port"]
                )
                assert one["protocol"] == port["protocol"]
                numbers.append((port["protocol"], str(one["containerPort"])))
        else:
            end = f"-{port['endPort']}" if "endPort" in port else ""
            numbers.append((port["protocol"], f"{port['port']}{end}"))
    return numbers


@pytest.mark.parametrize("profile", ["one-cluster"])
def test_policies_allow_the_table_and_nothing_else(profile: str) -> None:
    objects = chart.rendered(profile)
    outside = {row for row in TABLE if row[0] == ANYBODY}
    assert allowed(objects, "ingress") == TABLE - {("agent", ANYBODY, "any", "any")}
    assert allowed(objects, "egress") == TABLE - outside


def test_every_pod_has_a_policy() -> None:
    for profile in chart.PROFILES:
        objects = chart.rendered(profile)
        workloads = chart.of_kind(objects, "Deployment", "StatefulSet")
        assert chart.of_kind(objects, "NetworkPolicy").keys() == workloads.keys()


def test_all_upstream_ports_and_shards_are_open() -> None:
    objects = chart.rendered(None, "settings.relay.workers=3", "settings.transceiver.shards=2")
    rows = allowed(objects, "ingress") & allowed(objects, "egress")
    assert ("relay", "transceiver", "UDP", "3500-3501") in rows
    assert ("transceiver", "relay", "UDP", "3479-3481") in rows


def test_relays_take_records_from_edges_only_of_their_networks() -> None:
    rows = allowed(chart.rendered("region"), "ingress")
    upstream = {row[0] for row in rows if row[1] == "relay" and row[3] == "3479"}
    assert upstream == {"transceiver", "10.3.0.0/16"}


def test_an_edge_sends_to_relays_of_clusters_and_to_nobody_else() -> None:
    rows = allowed(chart.rendered("edge"), "egress")
    assert rows == {
        ("relay", "10.1.255.0/24", "UDP", "3479-3482"),
        ("relay", "10.2.255.0/24", "UDP", "3479-3482"),
    }


def test_metrics_are_for_those_who_watch() -> None:
    watching = "networkPolicy.monitoring[0].ipBlock.cidr=10.9.0.0/16"
    rows = allowed(chart.rendered(None, watching), "ingress")
    assert {row[1:] for row in rows if row[0] == "10.9.0.0/16"} == {
        ("relay", "TCP", "9478"),
        ("transceiver", "TCP", "8080"),
        ("gateway", "TCP", "8080"),
        ("agent", "TCP", "8081"),
    }


def test_who_may_ask_the_gateways_can_be_narrowed() -> None:
    controller = "networkPolicy.clients[0].ipBlock.cidr=10.8.0.0/16"
    rows = allowed(chart.rendered(None, controller), "ingress")
    assert {row[0] for row in rows if row[1] == "gateway"} == {"10.8.0.0/16"}


def test_an_external_redis_is_reached_at_its_port() -> None:
    given = (
        "redis.enabled=false",
        "redis.url=redis://cache:6380/0",
        "networkPolicy.redisPort=6380",
    )
    rows = allowed(chart.rendered(None, *given), "egress")
    assert {row[0] for row in rows if row[1:] == (ANYBODY, "TCP", "6380")} == {
        "relay",
        "transceiver",
        "gateway",
    }
