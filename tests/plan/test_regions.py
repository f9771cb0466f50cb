"""The regions file, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from firsthop.errors import ConfigError
from firsthop.plan.regions import read
from plan.page import ROOT

EXAMPLE = ROOT / "examples" / "plan" / "regions.yaml"


def example() -> dict[str, Any]:
    """Return the values of the example, to be spoiled."""
    values: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    return values


def problem(folder: Path, values: object) -> str:
    """Return what is said of a file with these values, from its place on."""
    path = folder / "regions.yaml"
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
    with pytest.raises(ConfigError) as refused:
        read(path)
    return str(refused.value).removeprefix(f"{path}: ")


def test_the_example_is_fine() -> None:
    regions = read(EXAMPLE)
    assert sum(region.cluster for region in regions.regions) == 4
    assert regions.prices.core is None


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("users", 1.5, "regions.2.users: 1.5: "),
        ("users", float("nan"), "regions.2.users: nan: "),
        ("users", 0.5, "regions.*.users: they add up to 1.38; expected 1"),
        ("location", [91, 0], "regions.2.location.0: 91: "),
        ("location", [1], "regions.2.location.1: "),
        ("location", [float("inf"), 0], "regions.2.location.0: inf: "),
        ("name", "iad", "regions.2.name: 'iad' is that of regions.1 already"),
        ("name", "", "regions.2.name: ''"),
        ("name", "a" * 17, "regions.2.name: 'aaa"),
        ("cluster", "perhaps", "regions.2.cluster: 'perhaps'"),
        ("colour", "blue", "regions.2.colour: there is no such field"),
        ("prices", {"core": -1}, "regions.2.prices.core: -1: "),
    ],
)
def test_a_region_that_is_wrong_is_named(
    field: str, value: object, said: str, tmp_path: Path
) -> None:
    values = example()
    values["regions"][2][field] = value
    assert problem(tmp_path, values).startswith(said)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"regions": []}, "regions: "),
        ({"regions": 3}, "regions: "),
        ({"headroom": {"utilisation": 0}}, "headroom.utilisation: 0: "),
        ({"headroom": {"utilisation": 1.2}}, "headroom.utilisation: 1.2: "),
        ({"sizes": {"candidates": 3}}, "sizes.candidates: 3: "),
        ({"prices": {"core": float("inf")}}, "prices.core: inf: "),
        ({"measured": {"relay_upp": {"value": 1, "where": "me"}}}, "measured.relay_upp: no such"),
        ({"measured": {"relay_up": {"value": 0, "where": "me"}}}, "measured.relay_up.value: 0: "),
        ({"measured": {"relay_up": {"value": 1}}}, "measured.relay_up.where: "),
        ({"more": 1}, "more: there is no such field"),
    ],
)
def test_a_setting_that_is_wrong_is_named(
    changes: dict[str, object], said: str, tmp_path: Path
) -> None:
    assert problem(tmp_path, example() | changes).startswith(said)


def test_somebody_has_to_serve(tmp_path: Path) -> None:
    values = example()
    for region in values["regions"]:
        region["cluster"] = False
    assert problem(tmp_path, values).startswith("regions.*.cluster: no region has one")


def test_one_cluster_cannot_be_lost_and_carried_by_others(tmp_path: Path) -> None:
    values = example()
    for region in values["regions"][1:]:
        region["cluster"] = False
    assert problem(tmp_path, values).startswith("headroom.lose_a_region: there is one cluster")
    values["headroom"]["lose_a_region"] = False
    path = tmp_path / "regions.yaml"
    path.write_text(yaml.safe_dump(values))
    assert not read(path).headroom.lose_a_region


@pytest.mark.parametrize("text", ["regions: [", "- 1", "just text", "1: 2"])
def test_what_is_no_regions_file_is_one_line(text: str, tmp_path: Path) -> None:
    assert "\n" not in problem(tmp_path, text)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read"):
        read(tmp_path / "none.yaml")
