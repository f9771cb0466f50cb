"""Keys that the chart makes: they stay, are added and dropped as `ids` say."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest

from deploy import chart


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """Return a chart of nothing but the helper, given what a cluster would have."""
    folder = tmp_path / "bare"
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text("{apiVersion: v2, name: bare, version: 0.0.0}")
    helper = (chart.CHART / "templates/_keys.tpl").read_text()
    (folder / "templates/_keys.tpl").write_text(helper)
    call = '{{ include "firsthop.keys" (dict "there" .Values.there "ids" .Values.ids) }}'
    (folder / "templates/keys.yaml").write_text(call)
    return folder


def keys(folder: Path, there: dict[str, str], ids: dict[str, list[int]]) -> dict[str, str]:
    """Return the keys that the helper makes of those that are there."""
    encoded = {name: base64.b64encode(key.encode()).decode() for name, key in there.items()}
    values = folder / "given.json"
    values.write_text(json.dumps({"there": encoded, "ids": ids}))
    text = chart.helm("template", "r", str(folder), "--values", str(values))
    found: dict[str, str] = json.loads(text[text.index("{") :])
    return found


def test_a_key_that_is_there_stays_and_a_new_one_is_made(bare: Path) -> None:
    first = keys(bare, {}, {"cluster-key": [0]})
    assert re.fullmatch("[0-9a-f]{64}", first["cluster-key-0"])
    second = keys(bare, first, {"cluster-key": [0, 1]})
    assert second["cluster-key-0"] == first["cluster-key-0"]
    assert second["cluster-key-1"] not in {"", first["cluster-key-0"]}
    third = keys(bare, second, {"cluster-key": [1]})
    assert third == {"cluster-key-1": second["cluster-key-1"]}


def test_an_id_that_comes_back_gets_another_key(bare: Path) -> None:
    first = keys(bare, {}, {"cluster-key": [0]})
    dropped = keys(bare, first, {"cluster-key": [1]})
    again = keys(bare, dropped, {"cluster-key": [0, 1]})
    assert again["cluster-key-0"] != first["cluster-key-0"]


def test_kinds_of_keys_do_not_meet(bare: Path) -> None:
    made = keys(bare, {}, {"cluster-key": [0], "fleet-key": [0], "api-key": [0]})
    assert len(set(made.values())) == 3


def test_a_key_that_is_dropped_leaves_the_secret() -> None:
    # Helm takes away what is gone from `data`; what is gone from `stringData` stays in the cluster.
    secret = chart.of_kind(chart.rendered(None), "Secret")["r-firsthop"]
    assert "stringData" not in secret


def test_the_active_key_seals_in_every_part() -> None:
    objects = chart.rendered(None, "keys.ids={0,1}", "keys.active=1")
    for part in ("relay", "transceiver"):
        text = chart.files(objects, part)["/etc/firsthop/secrets/secrets.yaml"]
        assert re.search("^key_id: 1$", text, re.MULTILINE)


def test_rotation_of_a_key_restarts_nothing() -> None:
    def pods(*settings: str) -> list[chart.Object]:
        objects = chart.rendered(None, *settings)
        return [chart.workload(objects, part)["spec"]["template"] for part in chart.PARTS]

    steps = [
        ("keys.ids={0,1}", "keys.active=0"),
        ("keys.ids={0,1}", "keys.active=1"),
        ("keys.ids={1}", "keys.active=1"),
    ]
    assert all(pods(*step) == pods() for step in steps)
    assert pods("apiKeys.ids={0,1}") == pods()
    # The agent service does not read its keys again: those who are concerned start anew.
    changed = [
        before != after for before, after in zip(pods(), pods("agentKeys.ids={0,1}"), strict=True)
    ]
    assert changed == [False, False, False, True]


def test_a_secret_of_the_users_own_takes_the_place_of_ours() -> None:
    objects = chart.rendered(None, "keys.existingSecret=mine")
    assert not chart.of_kind(objects, "Secret")
    for part in chart.PARTS:
        volumes = chart.workload(objects, part)["spec"]["template"]["spec"]["volumes"]
        (secret,) = (volume["secret"] for volume in volumes if "secret" in volume)
        assert secret["secretName"] == "mine"
        assert secret["items"] == [{"key": f"{part}.yaml", "path": "secrets.yaml"}]


def test_nobody_but_the_pod_itself_can_read_its_keys() -> None:
    for part in chart.PARTS:
        volumes = chart.workload(chart.rendered(None), part)["spec"]["template"]["spec"]["volumes"]
        (secret,) = (volume["secret"] for volume in volumes if "secret" in volume)
        assert oct(secret["defaultMode"]) == "0o440"
