"""What pods are given is what firsthop takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from deploy import chart
from firsthop.config import Settings, load
from firsthop.fleet.clusters import clusters_of
from firsthop.fleet.file import read

#: Values that each part is rendered with besides: all of them at once.
EVERYTHING = (
    "publicTcpAddresses={203.0.113.10:443}",
    "settings.relay.workers=3",
    "settings.relay.flow_capacity=2000000",
    "settings.transceiver.shards=2",
    "settings.transceiver.token_lifetime_seconds=86400",
    "clientSecretKeys.ids={0,1}",
    "clientSecretKeys.active=1",
)
EDGE_KEYS = "secrets.edge_keys.1.keys.0=" + "ab" * 48


def settings_of(part: str, folder: Path, profile: str | None, *given: str) -> Settings:
    """Load a part's settings as its container does."""
    objects = chart.rendered(profile, *given)
    for path, text in chart.files(objects, part).items():
        here = folder / path.removeprefix("/")
        here.parent.mkdir(parents=True, exist_ok=True)
        here.write_text(text)
    arguments = chart.container(objects, part)["args"]
    assert arguments[0] == part
    assert arguments[1::2] == ["--config", "--config"]
    paths = [folder / path.removeprefix("/") for path in arguments[2::2]]
    return load(paths, chart.environment(objects, part))


@pytest.mark.parametrize("profile", chart.PROFILES)
def test_every_part_of_every_profile_can_load_its_settings(profile: str, tmp_path: Path) -> None:
    given = (EDGE_KEYS,) if profile == "edge" else ()
    parts = chart.parts(chart.rendered(profile, *given))
    assert parts == (["relay"] if profile == "edge" else list(chart.PARTS))
    for part in parts:
        settings = settings_of(part, tmp_path / part, profile, *given)
        assert settings.fleet.file == "/etc/firsthop/settings/fleet.yaml"
        fleet = read(tmp_path / part / "etc/firsthop/settings/fleet.yaml")
        if part == "relay":
            assert {one.id for one in clusters_of(settings, fleet)} == {1}
        if part == "transceiver":
            assert fleet.cluster(settings.transceiver.cluster) is not None


@pytest.mark.parametrize("part", chart.PARTS)
def test_every_part_can_load_all_that_may_be_set(part: str, tmp_path: Path) -> None:
    settings = settings_of(part, tmp_path, "one-cluster", *EVERYTHING)
    assert settings.relay.flow_capacity == 2_000_000
    assert settings.transceiver.token_lifetime_seconds == 86_400


def test_large_numbers_of_a_values_file_stay_whole_numbers(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    given = {"publicAddresses": ["203.0.113.10:3478"]}
    values.write_text(
        yaml.safe_dump({**given, "settings": {"relay": {"flow_capacity": 5_000_000}}})
    )
    text = chart.helm("template", "r", str(chart.CHART), "--values", str(values))
    assert "flow_capacity: 5000000\n" in text


def test_a_pod_listens_where_others_look_for_it(tmp_path: Path) -> None:
    relay = settings_of("relay", tmp_path / "relay", None).relay
    assert relay.listen == ("0.0.0.0:3478",)
    assert relay.upstream == f"{chart.POD_IP}:3479"
    assert relay.health_listen == "0.0.0.0:9478"
    settings = settings_of("transceiver", tmp_path / "transceiver", None)
    assert settings.transceiver.listen == f"{chart.POD_IP}:3500"
    assert settings.signaling.reachable == f"{chart.POD_IP}:8080"
    assert settings.server_of_realtime.url == (
        "ws://r-firsthop-agent:8081/v1/realtime?model=firsthop-agent"
    )


def test_who_has_no_part_in_a_key_does_not_get_it(tmp_path: Path) -> None:
    gateway = settings_of("gateway", tmp_path / "gateway", "one-cluster")
    assert not gateway.keys and not gateway.signaling.api_keys and gateway.fleet.keys
    agent = settings_of("agent", tmp_path / "agent", "one-cluster")
    assert not agent.keys and not agent.fleet.keys and not agent.signaling.api_keys
    relay = settings_of("relay", tmp_path / "relay", "one-cluster")
    assert relay.keys and not relay.signaling.api_keys and not relay.agent.api_keys
    edge = settings_of("relay", tmp_path / "edge", "edge", EDGE_KEYS)
    assert not edge.keys and edge.edge_keys


def test_parts_that_meet_have_the_same_keys(tmp_path: Path) -> None:
    relay, transceiver, gateway, agent = (
        settings_of(part, tmp_path / part, "one-cluster") for part in chart.PARTS
    )
    assert relay.keys == transceiver.keys
    assert relay.fleet.keys == transceiver.fleet.keys == gateway.fleet.keys
    assert transceiver.server_of_realtime.api_key in agent.agent.api_keys


def test_a_server_of_others_is_not_shown_our_own_key(tmp_path: Path) -> None:
    elsewhere = "settings.realtime.url=wss://models.example.com/v1/realtime"
    assert settings_of("transceiver", tmp_path, None, elsewhere).realtime.api_key is None


def test_transceivers_believe_what_gateways_tell_of_clients(tmp_path: Path) -> None:
    narrow = "podNetworks={10.244.0.0/16}"
    trusted = settings_of("transceiver", tmp_path, None, narrow).steering.trusted_proxies
    assert trusted == ("127.0.0.0/8", "::1/128", "10.244.0.0/16")


def test_flows_and_heartbeats_are_shared_where_there_is_a_redis(tmp_path: Path) -> None:
    redis = "redis://r-firsthop-redis:6379/0"
    relay = settings_of("relay", tmp_path / "with", None)
    assert (relay.relay.flow_cache.url, relay.fleet.state) == (redis, redis)
    relay = settings_of("relay", tmp_path / "without", None, "redis.enabled=false")
    assert (relay.relay.flow_cache.url, relay.fleet.state) == ("memory", "memory")


def test_a_password_of_redis_is_in_the_secret_only(tmp_path: Path) -> None:
    given = ("redis.enabled=false", "redis.url=redis://:hush@cache:6379/1")
    objects = chart.rendered(None, *given)
    assert "hush" not in str(chart.of_kind(objects, "ConfigMap", "Deployment"))
    for part in ("relay", "transceiver", "gateway"):
        state = settings_of(part, tmp_path / part, None, *given).fleet.state
        assert state == "redis://:hush@cache:6379/1"


def test_a_redis_of_the_users_own_may_be_named_by_a_secret() -> None:
    objects = chart.rendered(None, "redis.enabled=false", "redis.existingSecret.name=cache")
    assert "r-firsthop-redis" not in chart.of_kind(objects, "Deployment")
    source = {"secretKeyRef": {"name": "cache", "key": "url"}}
    state = {"name": "FIRSTHOP_FLEET__STATE", "valueFrom": source}
    flows = {"name": "FIRSTHOP_RELAY__FLOW_CACHE__URL", "valueFrom": source}
    expected = {"relay": [state, flows], "transceiver": [state], "gateway": [state], "agent": []}
    for part, variables in expected.items():
        env = chart.container(objects, part).get("env", [])
        assert [one for one in env if source in one.values()] == variables


def test_calls_are_handed_over_before_a_short_drain_is_over(tmp_path: Path) -> None:
    given = settings_of("transceiver", tmp_path, None, "transceiver.drainSeconds=10").transceiver
    assert (given.drain_seconds, given.handover_seconds) == (10, 5)


def test_secrets_of_the_user_reach_the_part_that_needs_them(tmp_path: Path) -> None:
    given = ("secrets.agent.chat.api_key=sk-chat", "secrets.pipecat.api_key=sk-bot")
    assert settings_of("agent", tmp_path / "agent", None, *given).agent.chat.api_key == "sk-chat"
    assert settings_of("transceiver", tmp_path / "t", None, *given).pipecat.api_key == "sk-bot"
    for part in ("relay", "gateway"):
        assert "sk-" not in str(chart.files(chart.rendered(None, *given), part))
