"""Settings of relays that reach clusters by their relays, and of the fleet."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

import pytest
import yaml

from firsthop.config import Settings, load
from firsthop.errors import ConfigError

KEY = "0123456789abcdef" * 4
EDGE_KEY = "0123456789abcdef" * 6
SECRET = "feedc0ffee" * 6 + "beef"
EDGE_SECRET = "feedc0ffee" * 9 + "beefed"
FAR = {"id": 2, "networks": ["10.2.0.0/16"], "relays": ["10.2.0.5:3479"]}


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    return tmp_path / "settings.yaml"


def loaded(values: dict[str, Any], path: Path) -> Settings:
    path.write_text(yaml.safe_dump(values))
    return load([path], {})


def refused(values: dict[str, Any], path: Path) -> ConfigError:
    with pytest.raises(ConfigError) as error:
        loaded(values, path)
    return error.value


def test_by_default_there_is_no_fleet_and_nobody_is_trusted_but_this_machine() -> None:
    settings = load((), {})
    assert settings.fleet.file is None
    assert settings.fleet.state == "memory"
    assert (settings.relay.site, settings.relay.cluster, settings.relay.edges) == (0, None, ())
    assert settings.edge_keys == {}
    assert settings.steering.trusted_proxies == ("127.0.0.0/8", "::1/128")
    assert settings.steering.geoip is None
    assert settings.gateway.listen == "127.0.0.1:8090"
    assert settings.signaling.secret_keys == {}


def test_an_edge_has_edge_keys_and_relay_addresses_and_no_keys(settings_file: Path) -> None:
    values = {
        "relay": {"site": 7, "clusters": [FAR]},
        "edge_keys": {2: {"keys": {0: EDGE_KEY, 1: EDGE_KEY}, "key_id": 1}},
    }
    settings = loaded(values, settings_file)
    [cluster] = settings.relay.clusters
    assert cluster.relays == ("10.2.0.5:3479",)
    assert settings.relay.site == 7
    assert settings.edge_keys[2].keys[1] == EDGE_KEY


def test_edge_keys_can_be_set_by_variables() -> None:
    clusters = json.dumps([FAR])
    environment = {
        "FIRSTHOP_RELAY__CLUSTERS": clusters,
        "FIRSTHOP_EDGE_KEYS__2__KEYS__0": EDGE_KEY,
    }
    assert load((), environment).edge_keys[2].keys == {0: EDGE_KEY}
    environment = {
        "FIRSTHOP_RELAY__CLUSTERS": clusters,
        "FIRSTHOP_EDGE_KEYS": json.dumps({"2": {"keys": {"3": EDGE_KEY}, "key_id": 3}}),
    }
    assert load((), environment).edge_keys[2].key_id == 3


def test_one_relay_address_has_one_spelling(settings_file: Path) -> None:
    far = FAR | {"relays": ["[2001:DB8:0::5]:03479"]}
    values = {"relay": {"clusters": [far]}, "edge_keys": {2: {"keys": {0: EDGE_KEY}}}}
    assert loaded(values, settings_file).relay.clusters[0].relays == ("[2001:db8::5]:3479",)


@pytest.mark.parametrize(
    ("values", "key", "allowed"),
    [
        ({"relay": {"clusters": [FAR]}}, "relay.clusters.0.relays", "firsthop key edge"),
        (
            {"relay": {"clusters": [FAR]}, "edge_keys": {3: {"keys": {0: EDGE_KEY}}}},
            "relay.clusters.0.relays",
            "edge_keys has none for cluster 2",
        ),
        ({"relay": {"cluster": 1}}, "relay.cluster", "fleet.file is not set"),
        (
            {"relay": {"clusters": [{"id": 9}]}, "fleet": {"file": "fleet.yaml"}},
            "relay.clusters",
            "those of fleet.file",
        ),
        ({"relay": {"site": 256}}, "relay.site", "less than or equal to 255"),
        ({"relay": {"edges": ["10.0.0.1/8"]}}, "relay.edges.0", "host bits set"),
        ({"relay": {"cluster": 70_000}}, "relay.cluster", "less than or equal to 65535"),
        (
            {"relay": {"clusters": [FAR | {"relays": ["10.0.0.5"]}]}},
            "relay.clusters.0.relays.0",
            "expected ip:port",
        ),
        (
            {"relay": {"clusters": [FAR | {"relays": ["0.0.0.0:3479"]}]}},
            "relay.clusters.0.relays.0",
            "that edge relays can send to",
        ),
        ({"edge_keys": {1: {"keys": {0: KEY}}}}, "edge_keys.1.keys.0", "96 hex digits"),
        ({"edge_keys": {1: {"keys": {}}}}, "edge_keys.1.keys", "at least 1"),
        (
            {"edge_keys": {1: {"keys": {0: EDGE_KEY}, "key_id": 2}}},
            "edge_keys.1.key_id",
            "2 is not among keys, which has 0",
        ),
        (
            {"signaling": {"secret_keys": {0: KEY, 1: KEY}, "secret_key_id": 3}},
            "signaling.secret_key_id",
            "3 is not among secret_keys, which has 0, 1",
        ),
        ({"fleet": {"keys": {1: KEY}}}, "fleet.key_id", "0 is not among keys, which has 1"),
        ({"fleet": {"state": "somewhere"}}, "fleet.state", "expected memory, or redis://"),
        ({"fleet": {"file": ""}}, "fleet.file", "at least 1"),
        ({"steering": {"trusted_proxies": ["proxy"]}}, "steering.trusted_proxies.0", "IPv4 or"),
        ({"gateway": {"listen": "8090"}}, "gateway.listen", "expected ip:port"),
    ],
)
def test_what_does_not_go_together_is_refused_with_its_place_and_the_way_out(
    values: dict[str, Any], key: str, allowed: str, settings_file: Path
) -> None:
    error = refused(values, settings_file)
    assert error.key == key
    assert allowed in error.problem


def test_with_a_fleet_file_the_settings_shown_can_be_read_back(settings_file: Path) -> None:
    settings = loaded({"fleet": {"file": "fleet.yaml"}, "relay": {"cluster": 1}}, settings_file)
    assert loaded(settings.model_dump(mode="json"), settings_file) == settings


@pytest.mark.parametrize(
    "values",
    [
        {"edge_keys": EDGE_SECRET},
        {"edge_keys": {1: EDGE_SECRET}},
        {"edge_keys": {1: {"keys": EDGE_SECRET}}},
        {"edge_keys": {1: {"keys": [EDGE_SECRET]}}},
        {"edge_keys": {1: {"keys": {0: EDGE_SECRET + "0"}}}},
        {"edge_keys": {1: {"keys": {0: {"x": EDGE_SECRET}}}}},
        {"edge_keys": {1: {"key_id": EDGE_SECRET}}},
        {"edge_keys": {1: {"keys": {0: EDGE_SECRET}, "key_id": 1}}},
        {"edge_key": {1: EDGE_SECRET}},
        {"signaling": {"secret_keys": SECRET}},
        {"signaling": {"secret_keys": {0: SECRET[1:]}}},
        {"signaling": {"secret_keys": {9: SECRET}}},
        {"signaling": {"secret_keys": {0: SECRET}, "secret_key_id": 1}},
        {"signaling": {"secret_key": SECRET}},
        {"fleet": SECRET},
        {"fleet": {"keys": SECRET}},
        {"fleet": {"keys": {0: SECRET[1:]}}},
        {"fleet": {"keys": {0: SECRET}, "key_id": 1}},
        {"fleet": {"state": f"redis://:{SECRET}@10.0.0.9:port"}},
    ],
)
def test_no_error_shows_an_edge_key_or_any_other(
    values: dict[str, Any], settings_file: Path
) -> None:
    error = refused(values, settings_file)
    assert SECRET[1:20] not in "".join(traceback.format_exception(error))


def test_keys_show_neither_in_a_repr_nor_when_settings_are_written(settings_file: Path) -> None:
    values = {
        "edge_keys": {1: {"keys": {0: EDGE_SECRET}}},
        "signaling": {"secret_keys": {0: SECRET}},
        "fleet": {"keys": {0: SECRET}, "state": f"redis://me:{SECRET}@10.0.0.9"},
    }
    settings = loaded(values, settings_file)
    assert SECRET[:20] not in repr(settings)
    assert SECRET[:20] not in settings.model_dump_json()
    assert settings.model_dump()["fleet"]["state"] == "redis://me:***@10.0.0.9"
