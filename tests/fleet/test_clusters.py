"""The cluster table of a relay, by the fleet file."""

from __future__ import annotations

import pytest
import structlog

from firsthop.config import EdgeKeys, FleetSettings, RelaySettings, Settings
from firsthop.errors import ConfigError
from firsthop.fleet.clusters import clusters_of, with_fleet
from firsthop.fleet.model import Fleet, FleetCluster, Location

EDGE_KEY = "ab" * 48


def cluster(id: int, *relays: str) -> FleetCluster:
    return FleetCluster(
        id=id,
        name=f"c{id}",
        location=Location(0, 0),
        networks=(f"10.{id}.0.0/16",),
        first_port=4000,
        last_port=4010,
        relays=relays,
    )


FLEET = Fleet(
    clusters=(cluster(1, "10.1.0.5:3479"), cluster(2, "10.2.0.5:3479"), cluster(3), cluster(4))
)


def settings(own: int | None, *keyed: int) -> Settings:
    return Settings(
        fleet=FleetSettings(file="fleet.yaml"),
        relay=RelaySettings(cluster=own),
        edge_keys={id_: EdgeKeys(keys={0: EDGE_KEY}) for id_ in keyed},
    )


def test_its_own_cluster_a_relay_reaches_itself_and_others_by_their_relays() -> None:
    own, other = clusters_of(settings(1, 2), FLEET)
    assert (own.id, own.relays) == (1, ())
    assert (other.id, other.relays) == (2, ("10.2.0.5:3479",))
    assert (other.networks, other.first_port, other.last_port) == (("10.2.0.0/16",), 4000, 4010)


def test_an_edge_reaches_all_by_their_relays() -> None:
    assert [entry.relays for entry in clusters_of(settings(None, 1, 2), FLEET)] == [
        ("10.1.0.5:3479",),
        ("10.2.0.5:3479",),
    ]


def test_clusters_without_edge_keys_or_relays_are_left_out_with_one_line() -> None:
    with structlog.testing.capture_logs() as logs:
        entries = clusters_of(settings(None, 1, 3), FLEET)
    assert [entry.id for entry in entries] == [1]
    [line] = logs
    assert line["event"] == "fleet.clusters_left_out"
    assert line["without_edge_keys"] == [2, 4]
    assert line["without_relays"] == [3, 4]


def test_a_cluster_of_ones_own_that_is_not_in_the_file_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no cluster 9; it has 1, 2, 3, 4") as error:
        clusters_of(settings(9), FLEET)
    assert error.value.key == "relay.cluster"


def test_the_settings_of_a_relay_get_the_clusters_of_the_fleet() -> None:
    relay = with_fleet(settings(1, 2), FLEET).relay
    assert [entry.id for entry in relay.clusters] == [1, 2]
    assert relay.cluster == 1
