"""What a chart says, read from objects as helm prints them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from firsthop.bench.errors import BenchError
from firsthop.bench.rollout import manifests
from firsthop.bench.rollout.release import Probe, ServicePort, Variable

_OBJECTS = list(yaml.safe_load_all(Path(__file__).with_name("manifest.yaml").read_text()))


@pytest.fixture
def objects() -> list[Any]:
    return copy.deepcopy(_OBJECTS)


def pod_of(objects: list[Any]) -> Any:
    [spec] = [one["spec"] for one in objects if one["kind"] == "Deployment"]
    return spec["template"]["spec"]


def test_a_deployment_says_how_it_is_rolled_and_how_long_its_pods_may_take_to_end() -> None:
    found = manifests.read(_OBJECTS).deployment("transceiver")
    assert (found.name, found.replicas) == ("voice-transceiver", 4)
    # The defaults of Kubernetes: a quarter, the surge rounded up.
    assert (found.max_surge, found.max_unavailable, found.recreate) == (1, 1, False)
    assert (found.min_ready_s, found.grace_s) == (5.0, 40.0)
    assert found.container.pre_stop_s == 5.0


def test_a_share_of_few_pods_is_rounded_as_the_controller_does(objects: list[Any]) -> None:
    [spec] = [one["spec"] for one in objects if one["kind"] == "Deployment"]
    spec["replicas"] = 2
    found = manifests.read(objects).deployment("transceiver")
    assert (found.max_surge, found.max_unavailable) == (1, 0)
    spec["strategy"] = {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}
    found = manifests.read(objects).deployment("transceiver")
    assert (found.max_surge, found.max_unavailable) == (0, 1)


def test_replicas_are_left_to_the_autoscaler_where_there_is_one(objects: list[Any]) -> None:
    [spec] = [one["spec"] for one in objects if one["kind"] == "Deployment"]
    del spec["replicas"]
    target = {"kind": "Deployment", "name": "voice-transceiver"}
    objects.append(
        {
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "any"},
            "spec": {"scaleTargetRef": target, "minReplicas": 3},
        }
    )
    assert manifests.read(objects).deployment("transceiver").replicas == 3


def test_probes_name_ports_by_number_or_by_name() -> None:
    container = manifests.read(_OBJECTS).deployment("transceiver").container
    assert container.startup == Probe("/healthz", 8080, failures=60)
    assert container.readiness == Probe("/readyz", 8080, period_s=1, timeout_s=2, failures=2)
    assert container.liveness is None


def test_files_and_variables_come_from_config_maps_and_secrets() -> None:
    container = manifests.read(_OBJECTS).deployment("transceiver").container
    settings, secrets, tmp = container.mounts
    assert settings.path == "/etc/firsthop/settings"
    assert set(settings.files) == {"settings.yaml", "fleet.yaml"}
    assert secrets.path == "/etc/firsthop/secrets"
    assert set(secrets.files) == {"secrets.yaml"}
    assert tmp.files == {}
    assert container.variables == (
        Variable("POD_IP", of_pod="status.podIP"),
        Variable("FIRSTHOP_TRANSCEIVER__LISTEN", "$(POD_IP):3500"),
        Variable("FIRSTHOP_OTHER", "secret"),
    )


def test_services_say_how_they_are_reached() -> None:
    chart = manifests.read(_OBJECTS)
    transceiver, relay = chart.services
    assert (transceiver.headless, transceiver.not_ready_too) == (True, True)
    assert transceiver.ports == (ServicePort(80, "http", "TCP"),)
    assert (relay.headless, relay.load_balancer, relay.local) == (False, True, True)
    assert relay.ports == (ServicePort(3478, 3478, "UDP"),)
    assert transceiver.selects({"app.kubernetes.io/component": "transceiver", "more": "x"})
    assert not transceiver.selects({"app.kubernetes.io/component": "relay"})
    assert chart.service("transceiver") == transceiver


def test_the_api_key_is_that_of_the_secret() -> None:
    assert manifests.read(_OBJECTS).api_key() == "a-key-that-is-long-enough"


def test_what_cannot_be_rehearsed_is_refused_by_name(objects: list[Any]) -> None:
    pod = pod_of(objects)
    container = pod["containers"][0]
    container["lifecycle"]["preStop"]["exec"]["command"] = ["sh", "-c", "rm -rf /"]
    with pytest.raises(BenchError, match=r"voice-transceiver: .*preStop"):
        manifests.read(objects)
    del container["lifecycle"]
    container["readinessProbe"]["httpGet"]["scheme"] = "HTTPS"
    with pytest.raises(BenchError, match=r"voice-transceiver: .*HTTP only"):
        manifests.read(objects)
    del container["readinessProbe"]
    container["env"].append({"name": "CPU", "valueFrom": {"resourceFieldRef": {}}})
    with pytest.raises(BenchError, match=r"voice-transceiver: .*CPU"):
        manifests.read(objects)
    del container["env"]
    pod["volumes"][0]["configMap"]["name"] = "another"
    with pytest.raises(BenchError, match=r"configMap another, which the chart does not have"):
        manifests.read(objects)
    pod["volumes"][0] = {"name": "settings", "hostPath": {"path": "/"}}
    with pytest.raises(BenchError, match="no volume like settings"):
        manifests.read(objects)
    pod["initContainers"] = [{}]
    with pytest.raises(BenchError, match="pods of one container"):
        manifests.read(objects)
    with pytest.raises(BenchError, match="expected one of component relay, the chart has 0"):
        manifests.read(objects[:-1]).deployment("relay")
