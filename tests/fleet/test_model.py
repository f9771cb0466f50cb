"""What a fleet file may say, and what is refused with its place."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from firsthop.errors import ConfigError
from firsthop.fleet.file import read
from firsthop.fleet.model import Fleet, Location, kilometres

FLEET: dict[str, Any] = {
    "clusters": [
        {
            "id": 1,
            "name": "fra",
            "location": [50.1, 8.7],
            "networks": ["10.1.0.0/16"],
            "first_port": 3500,
            "last_port": 3599,
            "ipv6_prefix": None,
            "relays": ["10.1.0.5:3479"],
            "signaling": ["http://10.1.0.10:8080"],
            "capacity": None,
        },
        {
            "id": 2,
            "name": "syd",
            "location": [-33.9, 151.2],
            "networks": ["10.2.0.0/16", "2001:db8:2::/64"],
            "ipv6_prefix": "2001:db8:2::/64",
            "relays": ["10.2.0.5:3479", "10.2.0.5:3480"],
        },
    ],
    "ingresses": [
        {
            "id": 1,
            "name": "fra",
            "location": [50.1, 8.7],
            "udp": ["203.0.113.10:3478"],
            "tcp": [],
            "health": ["http://10.1.0.5:9478"],
            "clusters": [],
        },
        {
            "id": 2,
            "name": "syd",
            "location": [-33.9, 151.2],
            "udp": ["203.0.113.20:3478"],
            "clusters": [2],
        },
    ],
}


@pytest.fixture
def fleet_file(tmp_path: Path) -> Path:
    return tmp_path / "fleet.yaml"


def test_a_fleet_is_read_as_it_is_written(fleet_file: Path) -> None:
    fleet_file.write_text(yaml.safe_dump(FLEET))
    fleet = read(fleet_file)
    frankfurt, sydney = fleet.clusters
    assert fleet.cluster(2) is sydney
    assert fleet.cluster(3) is None
    assert frankfurt.location == Location(50.1, 8.7)
    assert frankfurt.location.latitude == 50.1
    assert (sydney.first_port, sydney.last_port) == (3500, 3599)
    near, far = fleet.ingresses
    assert fleet.ingress(1) is near
    assert (near.reaches(1), near.reaches(2)) == (True, True)
    assert (far.reaches(1), far.reaches(2)) == (False, True)


def test_an_empty_file_is_a_fleet_of_none(fleet_file: Path) -> None:
    fleet_file.write_text("")
    assert read(fleet_file) == Fleet()


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        ("clusters.1.id", 1, "1 is at clusters.0.id already"),
        ("clusters.1.name", "fra", "'fra' is at clusters.0.name already"),
        ("ingresses.1.id", 1, "1 is at ingresses.0.id already"),
        ("ingresses.1.name", "fra", "'fra' is at ingresses.0.name already"),
        ("ingresses.1.clusters.0", 7, "there is no cluster 7; there are 1, 2"),
        ("clusters.1.networks.0", "10.1.4.0/24", "overlaps with clusters.0.networks.0"),
        ("clusters.1.networks.0", "10.0.0.0/8", "overlaps with clusters.0.networks.0"),
        ("clusters.1.networks.0", "10.1.0.0/16", "overlaps with clusters.0.networks.0"),
        ("clusters.1.networks.0", "10.2.0.1/16", "host bits set"),
        ("clusters.1.relays.1", "10.1.0.5:3479", "is at clusters.0.relays.0 already"),
        ("clusters.1.relays.1", "10.1.0.5:03479", "is at clusters.0.relays.0 already"),
        ("clusters.1.relays.1", "10.2.0.5:3479", "is at clusters.1.relays.0 already"),
        ("clusters.1.relays.0", "10.2.0.5", "expected ip:port"),
        ("clusters.0.networks", [], "at least 1"),
        ("clusters.0.location", [91, 0], "less than or equal to 90"),
        ("clusters.0.location", [0, float("nan")], "finite"),
        ("clusters.0.location", "Frankfurt", "expected"),
        ("clusters.0.signaling.0", "10.1.0.10:8080", "expected http://"),
        ("clusters.0.capacity", 0, "greater than or equal to 1"),
        ("clusters.0.first_port", 4000, "at most last_port"),
        ("clusters.0.name", "Frankfurt!", "should match"),
        ("clusters.0.colour", "red", "no such field"),
        ("ingresses.0.id", 256, "less than or equal to 255"),
        ("ingresses.0.udp.0", "0.0.0.0:3478", "clients can send to"),
        ("ingresses.0.udp", [], "at least one address"),
        ("clusters", {"a": 1}, "expected"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(
    fleet_file: Path, place: str, value: Any, problem: str
) -> None:
    fleet = copy.deepcopy(FLEET)
    *path, last = (int(part) if part.isdigit() else part for part in place.split("."))
    inner: Any = fleet
    for part in path:
        inner = inner[part]
    inner[last] = value
    fleet_file.write_text(yaml.safe_dump(fleet))
    with pytest.raises(ConfigError) as error:
        read(fleet_file)
    entry = ".".join(place.split(".")[:2])
    assert error.value.key.startswith(f"{fleet_file}: {entry}")
    assert problem in error.value.problem
    if "already" in problem or "overlaps" in problem or "there is no" in problem:
        assert error.value.key == f"{fleet_file}: {place}"


@pytest.mark.parametrize("content", ["- a list", "clusters: [", "places: []", "\xff", "a: &a [*a]"])
def test_what_is_no_fleet_is_refused_with_the_path(fleet_file: Path, content: str) -> None:
    fleet_file.write_text(content, encoding="latin-1")
    with pytest.raises(ConfigError) as error:
        read(fleet_file)
    assert error.value.key.startswith(str(fleet_file))
    assert "\n" not in str(error.value)


def test_networks_of_one_cluster_may_overlap(fleet_file: Path) -> None:
    fleet = copy.deepcopy(FLEET)
    fleet["clusters"][0]["networks"] = ["10.1.0.0/16", "10.1.2.0/24"]
    fleet_file.write_text(yaml.safe_dump(fleet))
    assert len(read(fleet_file).clusters) == 2


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["clusters", "ingresses", "id", "name", "location", "networks", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_whatever_a_file_holds_gives_a_fleet_or_a_config_error(content: Any) -> None:
    with tempfile.NamedTemporaryFile("w") as file:
        yaml.safe_dump(content, file)
        file.flush()
        try:
            assert isinstance(read(Path(file.name)), Fleet)
        except ConfigError as error:
            assert error.key.startswith(file.name)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((50.11, 8.68), (50.11, 8.68), 0),
        ((50.11, 8.68), (40.71, -74.01), 6_204),
        ((-33.87, 151.21), (35.68, 139.69), 7_824),
        ((10, 179.5), (10, -179.5), 109.5),
        ((90, 0), (-90, 120), 20_015),
        ((0, 0), (0, 180), 20_015),
    ],
)
def test_distances_are_those_of_the_globe(
    one: tuple[float, float], other: tuple[float, float], expected: float
) -> None:
    assert kilometres(Location(*one), Location(*other)) == pytest.approx(expected, rel=0.005)


PLACES = st.builds(Location, st.floats(-90, 90), st.floats(-180, 180))


@given(PLACES, PLACES)
def test_a_distance_is_the_same_both_ways_and_within_half_the_earth(
    one: Location, other: Location
) -> None:
    assert kilometres(one, other) == pytest.approx(kilometres(other, one), abs=1e-6)
    assert 0 <= kilometres(one, other) <= 20_016
