"""`firsthop steer explain`: what would happen now to a client, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from firsthop.cli import app
from firsthop.errors import ConfigError

FLEET = """
clusters:
  - {id: 1, name: fra, location: [50.1, 8.7], networks: [10.1.0.0/16]}
  - {id: 2, name: iad, location: [39.0, -77.5], networks: [10.2.0.0/16],
     signaling: ["http://127.0.0.1:1"]}
ingresses:
  - {id: 1, name: fra, location: [50.1, 8.7], udp: ["203.0.113.10:3478"]}
  - {id: 2, name: iad, location: [39.0, -77.5], udp: ["203.0.113.11:3478"], clusters: [2]}
  - {id: 3, name: sin, location: [1.3, 103.8], udp: ["203.0.113.12:3478"]}
"""


@pytest.fixture(autouse=True)
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fleet.yaml").write_text(FLEET)
    monkeypatch.setenv("FIRSTHOP_FLEET__FILE", str(tmp_path / "fleet.yaml"))


def explained(*arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(app, ["steer", "explain", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status
    return result.stdout


def as_json(*arguments: str, status: int = 0) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(explained(*arguments, "--json", status=status))
    return value


def test_a_cluster_that_is_down_is_told_as_the_reason() -> None:
    told = as_json("--location", "40.7,-74.0")
    assert (told["cluster"], told["ingresses"]) == (1, [1, 3])
    assert "cluster 2 (iad): nearer, but not healthy, 354 km" in told["reasons"]
    assert [(one["id"], one["verdict"]) for one in told["clusters"]] == [
        (1, "chosen"),
        (2, "not healthy"),
    ]
    assert [(one["id"], one["verdict"]) for one in told["all_ingresses"]] == [
        (1, "first"),
        (3, "second"),
        (2, "does not reach cluster 1"),
    ]


def test_headers_are_read_as_those_of_a_trusted_proxy() -> None:
    told = as_json("--header", "CF-Ray: 230b030023ae2822-SIN", "--header", "CF-IPCountry: SG")
    assert told["client"]["source"] == "cloudflare colo"
    assert told["client"]["country"] == "SG"
    assert told["ingresses"] == [3, 1]


def test_people_get_tables() -> None:
    text = explained("--location", "48.9,2.4")
    assert "48.90, 2.40 (by --location)" in text
    assert "chosen" in text
    assert "cluster 1 (fra): nearest with room, 474 km." in text
    nowhere = explained("--ip", "203.0.113.7")
    assert "nobody knows where" in nowhere
    assert "203.0.113.7" not in nowhere


def test_a_fleet_without_clusters_has_no_room(tmp_path: Path) -> None:
    (tmp_path / "fleet.yaml").write_text("clusters: []")
    assert as_json(status=1)["cluster"] is None
    assert "there is no cluster to try." in explained(status=1)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--ip", "here"], "--ip: 'here' is no IP address"),
        (["--location", "1,2,3"], "--location: .*expected LAT,LON"),
        (["--location", "north"], "--location: .*expected LAT,LON"),
        (["--header", "CF-Ray"], "--header: .*expected"),
        (["--location", "1,2", "--header", "CF-Ray"], "--header: .*expected"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        explained(*arguments)


def test_without_a_fleet_there_is_nothing_to_explain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FIRSTHOP_FLEET__FILE")
    with pytest.raises(ConfigError, match=r"fleet\.file: steering needs one"):
        explained()
