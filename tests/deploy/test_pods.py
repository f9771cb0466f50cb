"""Pods: what they may do, when they are asked, and how long they have to go."""

from __future__ import annotations

import pytest
import yaml

from deploy import chart

ALL = pytest.mark.parametrize("profile", chart.PROFILES)


def pods(objects: tuple[chart.Object, ...]) -> dict[str, chart.Object]:
    """Return the spec of each workload's pods."""
    workloads = chart.of_kind(objects, "Deployment", "StatefulSet")
    return {name: one["spec"]["template"]["spec"] for name, one in workloads.items()}


@ALL
def test_pods_have_no_right_that_they_do_not_need(profile: str) -> None:
    for pod in pods(chart.rendered(profile)).values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "runAsNonRoot": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert not any("hostPort" in port for port in container["ports"])
            assert container["resources"]["requests"].keys() == {
                "cpu",
                "memory",
                "ephemeral-storage",
            }
            assert "memory" in container["resources"]["limits"]


@ALL
def test_the_grace_period_has_room_for_all_that_happens_in_it(profile: str) -> None:
    objects = chart.rendered(profile)
    for part in chart.parts(objects):
        pod = pods(objects)[f"r-firsthop-{part}"]
        settings = chart.settings(objects)
        stop = (
            pod["containers"][0].get("lifecycle", {}).get("preStop", {"exec": {"command": ["", 0]}})
        )
        sleeps = int(stop["exec"]["command"][1])
        left = pod["terminationGracePeriodSeconds"] - sleeps - settings[part]["drain_seconds"]
        # What is left is for goodbyes: a transceiver's take ten seconds at most.
        assert left == 15


@ALL
def test_probes_find_a_server_at_the_port_that_they_name(profile: str) -> None:
    objects = chart.rendered(profile)
    for part in chart.parts(objects):
        container = chart.container(objects, part)
        settings = chart.settings(objects)
        listens = {
            "relay": settings["relay"].get("health_listen"),
            "transceiver": settings["signaling"]["listen"],
            "gateway": settings["gateway"]["listen"],
            "agent": settings["agent"]["listen"],
        }[part]
        (http,) = (port for port in container["ports"] if port["name"] == "http")
        assert listens == f"0.0.0.0:{http['containerPort']}"
        probes = {name: container[name] for name in container if name.endswith("Probe")}
        assert {name: probe["httpGet"] for name, probe in probes.items()} == {
            "startupProbe": {"path": "/healthz", "port": "http"},
            "livenessProbe": {"path": "/healthz", "port": "http"},
            "readinessProbe": {"path": "/readyz", "port": "http"},
        }


def test_a_pod_that_drains_is_left_alone_by_its_liveness_probe() -> None:
    for part in chart.PARTS:
        container = chart.container(chart.rendered(None), part)
        # /readyz says that it drains; /healthz answers to the end.
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
        assert container["readinessProbe"]["periodSeconds"] == 1


def test_ports_of_the_pods_follow_the_settings() -> None:
    objects = chart.rendered(None, "settings.relay.workers=3", "settings.transceiver.shards=2")

    def udp(part: str) -> list[int]:
        ports = chart.container(objects, part)["ports"]
        return [port["containerPort"] for port in ports if port["protocol"] == "UDP"]

    assert udp("relay") == [3478, 3479, 3480, 3481]
    assert udp("transceiver") == [3500, 3501]
    fleet = chart.fleet(objects)
    (cluster,) = fleet["clusters"]
    assert (cluster["first_port"], cluster["last_port"]) == (3500, 3501)


def test_clients_of_all_addresses_reach_the_relays_with_their_own() -> None:
    both = (
        "publicAddresses={203.0.113.10:3478,[2001:db8::1]:3478}",
        "relay.service.ipFamilyPolicy=PreferDualStack",
    )
    service = chart.of_kind(chart.rendered(None, *both), "Service")["r-firsthop-relay"]["spec"]
    assert service["type"] == "LoadBalancer"
    assert service["externalTrafficPolicy"] == "Local"
    assert service["ports"] == [
        {"name": "media", "port": 3478, "targetPort": "media", "protocol": "UDP"}
    ]
    listen = chart.settings(chart.rendered(None, *both))["relay"]["listen"]
    assert listen == ["0.0.0.0:3478", "[::]:3478"]


def test_tcp_has_a_port_or_a_service_of_its_own() -> None:
    tcp = "publicTcpAddresses={203.0.113.10:443}"
    port = {"name": "media-tcp", "port": 443, "targetPort": "media-tcp", "protocol": "TCP"}
    mixed = chart.of_kind(chart.rendered(None, tcp), "Service")
    assert port in mixed["r-firsthop-relay"]["spec"]["ports"]
    apart = chart.of_kind(chart.rendered(None, tcp, "relay.service.separateTcp=true"), "Service")
    assert port not in apart["r-firsthop-relay"]["spec"]["ports"]
    assert apart["r-firsthop-relay-tcp"]["spec"]["ports"] == [port]
    assert {"name": "media-tcp", "containerPort": 3443, "protocol": "TCP"} in chart.container(
        chart.rendered(None, tcp), "relay"
    )["ports"]


def test_owners_of_calls_are_found_while_they_drain() -> None:
    service = chart.of_kind(chart.rendered(None), "Service")["r-firsthop-transceiver"]["spec"]
    assert service["clusterIP"] == "None"
    assert service["publishNotReadyAddresses"] is True


def test_edges_reach_each_relay_at_an_address_of_its_own() -> None:
    objects = chart.rendered("region")
    services = chart.of_kind(objects, "Service")
    fleet = chart.fleet(objects)
    relays = fleet["clusters"][0]["relays"]
    assert chart.workload(objects, "relay")["kind"] == "StatefulSet"
    for replica, address in enumerate(relays):
        spec = services[f"r-firsthop-relay-edges-{replica}"]["spec"]
        assert (
            spec["selector"]["statefulset.kubernetes.io/pod-name"] == f"r-firsthop-relay-{replica}"
        )
        assert f"{spec['loadBalancerIP']}:{spec['ports'][0]['port']}" == address
        assert spec["externalTrafficPolicy"] == "Local"


def test_gateways_find_the_pods_of_their_own_cluster_one_by_one() -> None:
    objects = chart.rendered("region")
    fleet = chart.fleet(objects)
    assert {cluster["id"]: cluster["signaling"] for cluster in fleet["clusters"]} == {
        1: ["http://r-firsthop-transceiver:8080"],
        2: ["http://10.2.255.20:8080"],
    }


def checksums(*settings: str) -> dict[str, str]:
    objects = chart.rendered(None, *settings)
    return {
        part: chart.workload(objects, part)["spec"]["template"]["metadata"]["annotations"][
            "checksum/settings"
        ]
        for part in chart.PARTS
    }


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("settings.relay.flow_idle_seconds=40", {"relay"}),
        ("settings.transceiver.max_sessions=7", {"transceiver"}),
        ("settings.agent.greeting=Hello", {"agent"}),
        ("settings.turns.silence_duration_ms=400", {"transceiver", "agent"}),
        ("gateway.drainSeconds=31", {"gateway"}),
        ("redis.enabled=false", {"relay", "transceiver", "gateway"}),
        ("fleet.name=fra", set()),
    ],
)
def test_a_setting_rolls_those_pods_that_read_it(setting: str, parts: set[str]) -> None:
    before, after = checksums(), checksums(setting)
    assert {part for part in chart.PARTS if before[part] != after[part]} == parts


@ALL
def test_no_part_can_lose_all_its_pods_to_an_eviction(profile: str) -> None:
    objects = chart.rendered(profile)
    budgets = chart.of_kind(objects, "PodDisruptionBudget")
    assert budgets.keys() == {f"r-firsthop-{part}" for part in chart.parts(objects)}
    assert {budget["spec"]["maxUnavailable"] for budget in budgets.values()} == {1}


def test_a_scaler_and_a_deployment_do_not_both_say_how_many() -> None:
    objects = chart.rendered("one-cluster", "transceiver.autoscaling.sessions=150")
    scalers = chart.of_kind(objects, "HorizontalPodAutoscaler")
    for part in chart.parts(objects):
        assert f"r-firsthop-{part}" in scalers
        assert "replicas" not in chart.workload(objects, part)["spec"]
    metrics = scalers["r-firsthop-transceiver"]["spec"]["metrics"]
    assert [metric["type"] for metric in metrics] == ["Resource", "Pods"]
    assert metrics[1]["pods"]["metric"]["name"] == "firsthop_transceiver_sessions"


def test_the_documentation_has_the_times_of_the_chart() -> None:
    objects = chart.rendered(None)
    text = (chart.CHART.parents[2] / "docs/kubernetes.md").read_text()
    for part in chart.parts(objects):
        values = yaml.safe_load((chart.CHART / "values.yaml").read_text())[part]
        grace = pods(objects)[f"r-firsthop-{part}"]["terminationGracePeriodSeconds"]
        name = "agent service" if part == "agent" else part
        row = f"| {name} | {values['preStopSeconds']} | {values['drainSeconds']} | {grace} s |"
        assert row in text
