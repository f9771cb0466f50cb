"""The chart as Helm renders it, without a cluster."""

from __future__ import annotations

import base64
import functools
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

CHART: Final = Path(__file__).parents[2] / "deploy/helm/firsthop"
HELM: Final = Path(sys.executable).with_name("helm")
PROFILES: Final = ("one-node", "one-cluster", "region", "edge")
PARTS: Final = ("relay", "transceiver", "gateway", "agent")
ADDRESS: Final = "publicAddresses={203.0.113.10:3478}"
#: What a pod is given for its own address.
POD_IP: Final = "10.1.2.3"

Object = dict[str, Any]


class Refused(Exception):
    """Helm does not take the values; the message is Helm's."""


@functools.cache
def rendered(profile: str | None, *settings: str) -> tuple[Object, ...]:
    """Return all objects, for a profile and what is set besides.

    Args:
        profile: The name of a file in `profiles`, or none.
        settings: As for ``helm template --set``.

    Raises:
        Refused: The values are wrong.
    """
    text = helm("template", "r", str(CHART), *_values(profile, *settings))
    return tuple(document for document in yaml.safe_load_all(text) if document)


def helm(*arguments: str) -> str:
    """Run Helm, and return what it prints.

    Raises:
        Refused: It failed.
    """
    done = subprocess.run([HELM, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(done.stderr)
    return done.stdout


def _values(profile: str | None, *settings: str) -> list[str]:
    given = ["--values", str(CHART / f"profiles/{profile}.yaml")] if profile else []
    for setting in (ADDRESS, *settings):
        given += ["--set", setting]
    return given


def of_kind(objects: tuple[Object, ...], *kinds: str) -> dict[str, Object]:
    """Return the objects of these kinds, by their names."""
    return {one["metadata"]["name"]: one for one in objects if one["kind"] in kinds}


def workload(objects: tuple[Object, ...], part: str) -> Object:
    """Return the Deployment or StatefulSet of a part."""
    return of_kind(objects, "Deployment", "StatefulSet")[f"r-firsthop-{part}"]


def parts(objects: tuple[Object, ...]) -> list[str]:
    """Return which parts of firsthop are there."""
    workloads = of_kind(objects, "Deployment", "StatefulSet")
    return [part for part in PARTS if f"r-firsthop-{part}" in workloads]


def container(objects: tuple[Object, ...], part: str) -> Object:
    """Return the one container of a part's pods."""
    (one,) = workload(objects, part)["spec"]["template"]["spec"]["containers"]
    found: Object = one
    return found


def files(objects: tuple[Object, ...], part: str) -> dict[str, str]:
    """Return the files that a part's container has, by their paths."""
    pod = workload(objects, part)["spec"]["template"]["spec"]
    mounts = {
        mount["name"]: mount["mountPath"] for mount in container(objects, part)["volumeMounts"]
    }
    found: dict[str, str] = {}
    for volume in pod["volumes"]:
        folder = mounts[volume["name"]]
        if "configMap" in volume:
            data = of_kind(objects, "ConfigMap")[volume["configMap"]["name"]]["data"]
            found |= {f"{folder}/{name}": text for name, text in data.items()}
        elif "secret" in volume:
            data = secret_data(objects, volume["secret"]["secretName"])
            for item in volume["secret"]["items"]:
                found[f"{folder}/{item['path']}"] = data[item["key"]]
    return found


def settings(objects: tuple[Object, ...]) -> Object:
    """Return what the settings file says that all parts have."""
    text = of_kind(objects, "ConfigMap")["r-firsthop"]["data"]["settings.yaml"]
    found: Object = yaml.safe_load(text)
    return found


def fleet(objects: tuple[Object, ...]) -> Object:
    """Return what the fleet file says."""
    text = of_kind(objects, "ConfigMap")["r-firsthop"]["data"]["fleet.yaml"]
    found: Object = yaml.safe_load(text)
    return found


def secret_data(objects: tuple[Object, ...], name: str = "r-firsthop") -> dict[str, str]:
    """Return what a Secret holds, decoded."""
    data = of_kind(objects, "Secret")[name]["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def environment(objects: tuple[Object, ...], part: str) -> dict[str, str]:
    """Return the variables of a part's container, as the kubelet sets them."""
    values = {"status.podIP": POD_IP}
    found: dict[str, str] = {}
    for variable in container(objects, part).get("env", ()):
        if "value" in variable:
            found[variable["name"]] = _expanded(variable["value"], found)
        elif "fieldRef" in variable["valueFrom"]:
            found[variable["name"]] = values[variable["valueFrom"]["fieldRef"]["fieldPath"]]
    return found


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    return re.sub(r"\$\((\w+)\)", lambda found: variables[found[1]], text)
