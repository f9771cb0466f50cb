"""Values that are wrong are refused by their names."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from deploy import chart


def test_the_schema_has_the_settings_as_they_are() -> None:
    script = chart.CHART.parents[2] / "scripts/chart-schema"
    done = subprocess.run(
        [chart.HELM.with_name("python"), script, "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (
            "settings.relay.listen=0.0.0.0:1",
            "settings.relay: Additional property listen is not allowed",
        ),
        ("settings.transceiver.max_session=9", "Additional property max_session is not allowed"),
        ("settings.turns.threshold=2", "settings.turns.threshold: Must be less than 1"),
        ("settings.relay.workers=auto", "settings.relay.workers: Invalid type"),
        ("settings.agent.api_keys={abc}", "settings.agent: Additional property api_keys"),
        ("settings.realtime.api_key=abc", "settings.realtime: Additional property api_key"),
        ("secrets.agent.instructions=abc", "secrets.agent: Additional property instructions"),
        ("relay.replica=3", "relay: Additional property replica is not allowed"),
        ("relay.drainSeconds=-1", "relay.drainSeconds: Must be greater than or equal to 0"),
        ("publicAddresses={voice.example.com:3478}", "publicAddresses.0: Does not match pattern"),
        (
            "publicAddresses={203.0.113.1:3478,203.0.113.2:3478}",
            "publicAddresses: expected one IPv4",
        ),
        ("publicAddresses=null", "publicAddresses: expected where clients reach the relays"),
        ("keys.active=2", "keys.active: 2 is not among keys.ids, which has 0"),
        ("keys.ids={4}", "keys.ids.0: Must be less than or equal to 3"),
        ("redis.url=redis://cache:6379/0", "set redis.enabled to false"),
        ("agent.enabled=false", "agent.enabled: without the agent service"),
        (
            "settings.transceiver.handover_seconds=600,transceiver.drainSeconds=60",
            "transceiver.drainSeconds: expected at least the 600",
        ),
        (
            "relay.stable.enabled=true,relay.autoscaling.enabled=true",
            "relay.autoscaling: relays at stable",
        ),
        ("ingress.enabled=true,ingress.tlsSecret=cert", "ingress.host: TLS needs the name"),
        ("httpRoute.enabled=true", "httpRoute.parentRefs: name the Gateway"),
        ("fleetKeys.ids=null", "fleetKeys.ids: gateways read heartbeats in Redis"),
        ("transceiver.enabled=false,agent.enabled=false", "gateway.enabled: expected transceivers"),
        (
            "transceiver.enabled=false,agent.enabled=false,gateway.enabled=false",
            "fleet.clusters: relays without transceivers",
        ),
        (
            "relay.stable.enabled=true,relay.stable.addresses={10.0.0.1}",
            "relay.stable.addresses: expected one for each of the 2",
        ),
        ("redis.enabled=false,redis.url=redis://cache:6380", "networkPolicy.redisPort"),
        ("gateway.autoscaling.enabled=true,gateway.autoscaling.cpu=null", "gateway.autoscaling"),
        ("nonsense=1", "Additional property nonsense is not allowed"),
    ],
)
def test_what_is_wrong_is_named(value: str, problem: str) -> None:
    with pytest.raises(chart.Refused) as refused:
        chart.rendered(None, value)
    assert problem in str(refused.value)


def test_every_value_and_no_other_has_a_schema() -> None:
    schema = json.loads((chart.CHART / "values.schema.json").read_text())
    values = yaml.safe_load((chart.CHART / "values.yaml").read_text())
    # Settings are known by their model; Helm itself brings `global`.
    own = set(paths_of(schema)) - {"global"}
    assert {path for path in own if not path.startswith(("settings.", "secrets."))} == {
        path for path in names_of(values) if not path.startswith("settings.")
    }


def paths_of(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Yield the paths of a schema's properties."""
    for name, below in schema.get("properties", {}).items():
        yield f"{path}{name}"
        yield from paths_of(below, f"{path}{name}.")


def names_of(values: dict[str, Any], path: str = "") -> Iterator[str]:
    """Yield the paths of values, but for what is Kubernetes' own or free text."""
    for name, value in values.items():
        yield f"{path}{name}"
        free = name in {"resources", "labels"}
        if isinstance(value, dict) and not free:
            yield from names_of(value, f"{path}{name}.")
