"""The chart on a real API server with real controllers: admitted, installed, changed, taken away.

No container runs; what becomes of calls meanwhile is rehearsed in `e2e/test_rollout`.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest
import yaml

from deploy import chart
from deploy.chart import Object
from deploy.control_plane import ControlPlane, programs
from deploy.kubernetes import Kubernetes
from deploy.release import NAME, Release

pytestmark = pytest.mark.timeout(300)


def given(*settings: str) -> tuple[str, ...]:
    """Return options of Helm for settings, and for what the chart wants to be told in any case."""
    return tuple(word for setting in (chart.ADDRESS, *settings) for word in ("--set", setting))


PROFILES = {
    name: ("--values", str(chart.CHART / f"profiles/{name}.yaml"), *given())
    for name in chart.PROFILES
}
#: Everything that the chart can be told to make.
EVERYTHING = given(
    "publicTcpAddresses={192.0.2.1:443}",
    "relay.service.separateTcp=true",
    *(f"{part}.autoscaling.enabled=true" for part in chart.PARTS),
    "transceiver.autoscaling.sessions=100",
    "transceiver.internalService.enabled=true",
    "ingress.enabled=true",
    "ingress.host=voice.example.com",
    "ingress.tlsSecret=voice",
    "dashboard.enabled=true",
)
#: And that of kinds that a cluster need not have.
OPTIONAL_KINDS = given(
    "serviceMonitor.enabled=true",
    "alerts.enabled=true",
    "httpRoute.enabled=true",
    "httpRoute.parentRefs[0].name=gateway",
    "httpRoute.hostnames={voice.example.com}",
)
#: Of a namespace that refuses, and warns of, whatever a pod may do that a program need not do.
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
#: Warnings of the cluster that tell of an object of ours, rather than of what this cluster lacks.
FAILURES = {"FailedCreate", "FailedScheduling", "CalculateExpectedPodCountFailed"}

_namespaces = (f"test-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Yield a control plane that runs."""
    try:
        found = programs()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    control_plane = ControlPlane(tmp_path_factory.mktemp("kubernetes"), found)
    try:
        control_plane.start()
        yield control_plane
    finally:
        control_plane.close()


@pytest.fixture
async def kubernetes(control_plane: ControlPlane) -> AsyncIterator[Kubernetes]:
    """Yield a client with a restricted namespace of its own, in which there is nothing yet."""
    async with httpx.AsyncClient(**control_plane.connection()) as client:
        kubernetes = Kubernetes(client, next(_namespaces))
        await kubernetes.create_namespace(RESTRICTED)
        yield kubernetes


@pytest.fixture
def release(control_plane: ControlPlane, kubernetes: Kubernetes) -> Release:
    """Return the release in that namespace; nothing is installed yet."""
    return Release(control_plane.kubeconfig, kubernetes.namespace)


each_profile = pytest.mark.parametrize(
    "values", [*PROFILES.values(), EVERYTHING], ids=[*PROFILES, "everything"]
)


@each_profile
async def test_the_server_takes_every_object_and_warns_of_none(
    kubernetes: Kubernetes, release: Release, values: tuple[str, ...]
) -> None:
    said = {
        f"{each['kind']} {each['metadata']['name']}": await kubernetes.try_apply(each)
        for each in await release.objects(*values)
    }
    assert len(said) > 1
    assert {name: warnings for name, warnings in said.items() if warnings} == {}


async def test_the_server_takes_objects_of_kinds_that_other_projects_define(
    control_plane: ControlPlane, kubernetes: Kubernetes, release: Release
) -> None:
    if not control_plane.has_custom_kinds:
        pytest.skip("no CRDs beside the programs: `make kube-tools` lays them there")
    usual = {each["kind"] for each in await release.objects(*given())}
    objects = await release.objects(*OPTIONAL_KINDS)
    optional = [each for each in objects if each["kind"] not in usual]
    assert {"HTTPRoute", "PrometheusRule", "ServiceMonitor"} == {each["kind"] for each in optional}
    for each in optional:
        assert await kubernetes.try_apply(each) == []


@each_profile
async def test_a_release_comes_up_where_pods_are_restricted_and_goes_away_whole(
    kubernetes: Kubernetes, release: Release, values: tuple[str, ...]
) -> None:
    await release.upgrade(*values)
    await up(kubernetes)
    await every_service_has_endpoints(kubernetes)
    await every_budget_allows_one(kubernetes)
    await every_autoscaler_finds_its_pods(kubernetes)
    await every_policy_selects_pods(kubernetes)
    events = await kubernetes.all("v1", "Event")
    assert [each["message"] for each in events if each["reason"] in FAILURES] == []
    await release.uninstall()
    for kind in ("Pod", "Service", "Secret"):
        await kubernetes.until("v1", kind, f"no {kind} is left", lambda left: not left)


async def test_an_upgrade_without_a_change_keeps_keys_and_pods(
    kubernetes: Kubernetes, release: Release
) -> None:
    await release.upgrade(*given())
    pods = await up(kubernetes)
    secret = await kubernetes.get("v1", "Secret", NAME)
    await release.upgrade(*given())
    assert (await kubernetes.get("v1", "Secret", NAME))["data"] == secret["data"]
    assert await up(kubernetes) == pods


async def test_keys_rotate_in_three_upgrades_and_no_pod_is_replaced(
    kubernetes: Kubernetes, release: Release
) -> None:
    await release.upgrade(*given())
    pods = await up(kubernetes)
    old = (await settings(kubernetes, "relay"))["keys"]["0"]

    await release.upgrade(*given("keys.ids={0,1}"))
    relay = await settings(kubernetes, "relay")
    new = relay["keys"]["1"]
    assert (relay["keys"], relay["key_id"]) == ({"0": old, "1": new}, 0)
    assert new != old

    await release.upgrade(*given("keys.ids={0,1},keys.active=1"))
    relay = await settings(kubernetes, "relay")
    assert (relay["keys"], relay["key_id"]) == ({"0": old, "1": new}, 1)

    await release.upgrade(*given("keys.ids={1},keys.active=1"))
    relay = await settings(kubernetes, "relay")
    assert (relay["keys"], relay["key_id"]) == ({"1": new}, 1)
    assert (await settings(kubernetes, "transceiver"))["keys"] == {"1": new}
    assert old not in str(await secrets(kubernetes))
    assert await up(kubernetes) == pods


async def test_changed_settings_replace_pods_that_read_them_and_a_rollback_does_it_again(
    kubernetes: Kubernetes, release: Release
) -> None:
    await release.upgrade(*given())
    first = await up(kubernetes)
    config = await kubernetes.get("v1", "ConfigMap", NAME)
    secret = await kubernetes.get("v1", "Secret", NAME)

    await release.upgrade(*given("settings.transceiver.max_sessions=7"))
    assert (await kubernetes.get("v1", "ConfigMap", NAME))["data"] != config["data"]
    second = await up(kubernetes)
    assert first - second == of("transceiver", first)
    assert len(second - first) == 2

    await release.rollback()
    assert (await kubernetes.get("v1", "ConfigMap", NAME))["data"] == config["data"]
    assert (await kubernetes.get("v1", "Secret", NAME))["data"] == secret["data"]
    third = await up(kubernetes)
    assert second - third == of("transceiver", second)


async def test_an_upgrade_leaves_the_number_of_pods_to_the_autoscaler(
    kubernetes: Kubernetes, release: Release
) -> None:
    scaled = "transceiver.autoscaling.enabled=true"
    await release.upgrade(*given(scaled))
    await kubernetes.scale(f"{NAME}-transceiver", 5)
    await release.upgrade(*given(scaled, "settings.transceiver.max_sessions=7"))
    assert len(of("transceiver", await up(kubernetes))) == 5


async def test_pods_that_cannot_start_replace_none_and_a_rollback_ends_their_upgrade(
    kubernetes: Kubernetes, release: Release
) -> None:
    await release.upgrade(*given())
    before = await up(kubernetes)
    await release.upgrade(*given("transceiver.nodeSelector.room=none"))
    pods = await kubernetes.until("v1", "Pod", "a pod fits nowhere", any_unschedulable)
    running = {each["metadata"]["name"] for each in pods if is_ready(each)}
    assert running == before
    await release.rollback()
    assert await up(kubernetes) == before


async def up(kubernetes: Kubernetes) -> set[str]:
    """Return the names of all pods once each workload has all of its newest pods and no other."""
    for kind in ("Deployment", "StatefulSet"):
        await kubernetes.until("apps/v1", kind, f"every {kind} is up", all_of(is_rolled_out))
    pods = await kubernetes.until("v1", "Pod", "every pod is ready", all_of(is_ready))
    assert pods
    return {each["metadata"]["name"] for each in pods}


async def secrets(kubernetes: Kubernetes) -> dict[str, str]:
    """Return what the chart's Secret holds, by the names of its entries."""
    data = (await kubernetes.get("v1", "Secret", NAME))["data"]
    return {name: base64.b64decode(value).decode() for name, value in data.items()}


async def settings(kubernetes: Kubernetes, part: str) -> Object:
    """Return the settings of a part that nobody else may read."""
    return dict(yaml.safe_load((await secrets(kubernetes))[f"{part}.yaml"]))


async def every_service_has_endpoints(kubernetes: Kubernetes) -> None:
    """Wait until each Service has found pods, and each of its ports a port of theirs."""
    wanted = {
        each["metadata"]["name"]: {port["name"] for port in each["spec"]["ports"]}
        for each in await kubernetes.all("v1", "Service")
    }

    def found(slices: list[Object]) -> bool:
        ports: dict[str, set[str]] = {}
        for each in slices:
            if each.get("endpoints"):
                service = each["metadata"]["labels"]["kubernetes.io/service-name"]
                ports.setdefault(service, set()).update(port["name"] for port in each["ports"])
        return ports == wanted

    await kubernetes.until(
        "discovery.k8s.io/v1", "EndpointSlice", f"Services have endpoints: {wanted}", found
    )


async def every_budget_allows_one(kubernetes: Kubernetes) -> None:
    """Wait until each budget lets a node be drained, one pod at a time."""
    await kubernetes.until(
        "policy/v1",
        "PodDisruptionBudget",
        "every budget allows one disruption",
        all_of(lambda budget: budget["status"]["disruptionsAllowed"] == 1),
    )


async def every_autoscaler_finds_its_pods(kubernetes: Kubernetes) -> None:
    """Wait until each autoscaler could scale, but for what this cluster has no metrics of."""
    await kubernetes.until(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        "every autoscaler is able to scale",
        all_of(lambda scaler: has(scaler, "AbleToScale")),
    )


async def every_policy_selects_pods(kubernetes: Kubernetes) -> None:
    """Check that no NetworkPolicy is for pods that do not exist."""
    for policy in await kubernetes.all("networking.k8s.io/v1", "NetworkPolicy"):
        labels = policy["spec"]["podSelector"].get("matchLabels", {})
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        selected = await kubernetes.all("v1", "Pod", labelSelector=selector)
        assert selected, policy["metadata"]["name"]


def of(part: str, pods: set[str]) -> set[str]:
    """Return those of `pods` that are a part's."""
    return {name for name in pods if name.startswith(f"{NAME}-{part}-")}


def all_of(condition: Callable[[Object], bool]) -> Callable[[list[Object]], bool]:
    """Return whether a condition holds for each of some objects."""
    return lambda objects: all(map(condition, objects))


def is_rolled_out(workload: Object) -> bool:
    """Return whether a workload has all pods that it is to have, and all are its newest."""
    status = workload["status"]
    wanted = workload["spec"]["replicas"]
    counts = [status.get(f"{kind}Replicas", 0) for kind in ("updated", "ready", "available")]
    seen = status.get("observedGeneration") == workload["metadata"]["generation"]
    return seen and {status.get("replicas", 0), *counts} == {wanted}


def is_ready(pod: Object) -> bool:
    """Return whether a pod takes part and is to stay."""
    return has(pod, "Ready") and "deletionTimestamp" not in pod["metadata"]


def any_unschedulable(pods: list[Object]) -> bool:
    """Return whether the scheduler has found no place for one of `pods`."""
    return any(has(pod, "PodScheduled", "False") for pod in pods)


def has(object: Object, condition: str, status: str = "True") -> bool:
    """Return whether a condition of an object has a status."""
    conditions = object.get("status", {}).get("conditions", [])
    return any((each["type"], each["status"]) == (condition, status) for each in conditions)
