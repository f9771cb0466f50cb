"""Settings: where they come from, what they refuse, and what they never show."""

from __future__ import annotations

import json
import tempfile
import traceback
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from firsthop.config import Settings, load
from firsthop.errors import ConfigError

KEY = "0123456789abcdef" * 4
SECRET = "feedc0ffee" * 6 + "beef"


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    return tmp_path / "settings.yaml"


def refused(environment: dict[str, str], path: Path | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as error:
        load([] if path is None else [path], environment)
    return error.value


def variable(key: str) -> str:
    return "FIRSTHOP_" + key.upper().replace(".", "__")


# Where they come from.


def test_defaults_need_nothing_and_keep_to_this_machine() -> None:
    settings = load((), {})
    assert settings.keys == {}
    assert settings.backend == "realtime"
    assert settings.signaling.listen == "127.0.0.1:8080"
    assert settings.relay.health_listen == "127.0.0.1:9478"
    assert settings.transceiver.listen == "127.0.0.1:3500"
    assert settings.signaling.allowed_origins == ()
    [cluster] = settings.relay.clusters
    assert cluster.networks == ("127.0.0.0/8",)
    assert settings.relay.worker_count() >= 1


def test_default_cluster_of_relay_allows_the_default_transceiver() -> None:
    settings = load((), {})
    [cluster] = settings.relay.clusters
    port = int(settings.transceiver.listen.rpartition(":")[2])
    assert cluster.id == settings.transceiver.cluster
    assert cluster.first_port <= port <= cluster.last_port


def test_environment_wins_over_the_file_and_the_file_over_defaults(settings_file: Path) -> None:
    settings_file.write_text("relay: {workers: 3, flow_capacity: 500}\nbackend: echo\n")
    settings = load([settings_file], {"FIRSTHOP_RELAY__WORKERS": "7"})
    assert settings.relay.workers == 7
    assert settings.relay.flow_capacity == 500
    assert settings.backend == "echo"
    assert settings.relay.flow_idle_seconds == 35


def test_the_last_of_several_files_wins(settings_file: Path, tmp_path: Path) -> None:
    later = tmp_path / "later.yaml"
    settings_file.write_text("relay: {workers: 3, flow_capacity: 500}\nbackend: echo\n")
    later.write_text("relay: {workers: 4}\n")
    settings = load([settings_file, later], {})
    assert settings.relay.workers == 4
    assert settings.relay.flow_capacity == 500
    assert settings.backend == "echo"


def test_a_key_of_the_environment_replaces_that_of_the_file(settings_file: Path) -> None:
    settings_file.write_text(yaml.safe_dump({"keys": {0: KEY, 1: KEY}}))
    settings = load([settings_file], {"FIRSTHOP_KEYS__0": SECRET})
    assert settings.key_bytes() == {0: bytes.fromhex(SECRET), 1: bytes.fromhex(KEY)}


def test_an_empty_file_and_foreign_variables_change_nothing(settings_file: Path) -> None:
    settings_file.write_text("")
    assert load([settings_file], {"PATH": "/bin", "HOME": "/"}) == load((), {})


def test_all_settings_survive_being_written_and_read_again(settings_file: Path) -> None:
    settings = load((), {"FIRSTHOP_KEYS": json.dumps({"0": KEY})})
    settings_file.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    assert load([settings_file], {}) == settings


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("audio.sample_rate", "24000", 24_000),
        ("audio.frame_ms", "40", 40),
        ("relay.workers", "2", 2),
        ("relay.workers", "auto", "auto"),
        ("relay.listen", '["0.0.0.0:3478", "[::]:3478"]', ("0.0.0.0:3478", "[::]:3478")),
        ("relay.pin", "true", True),
        ("relay.busy_poll_us", "50", 50),
        ("relay.takeover_socket", "/run/firsthop/relay.sock", "/run/firsthop/relay.sock"),
        ("relay.flow_cache.url", "redis://cache.example", "redis://cache.example"),
        ("relay.flow_cache.url", "redis://[fd00::1]:6380/3", "redis://[fd00::1]:6380/3"),
        (
            "relay.flow_cache.url",
            "rediss://me:p%40ss@10.0.0.9/?ssl_ca_certs=/etc/ca.pem",
            "rediss://me:p%40ss@10.0.0.9/?ssl_ca_certs=/etc/ca.pem",
        ),
        ("relay.flow_cache.budget_ms", "8", 8),
        ("relay.tcp_listen", '["0.0.0.0:443"]', ("0.0.0.0:443",)),
        ("transceiver.advertise_tcp", '["203.0.113.5:443"]', ("203.0.113.5:443",)),
        ("transceiver.direct", "true", True),
        ("transceiver.reachable_ip", "10.0.0.7", "10.0.0.7"),
        ("transceiver.advertise", '["203.0.113.5:3478"]', ("203.0.113.5:3478",)),
        ("signaling.allowed_origins", '["https://a.example:8443"]', ("https://a.example:8443",)),
        ("turns.threshold", "0.6", 0.6),
        ("backend", "my.agents:parrot", "my.agents:parrot"),
    ],
)
def test_every_kind_of_value_can_be_set_by_a_variable(key: str, text: str, value: object) -> None:
    found: Any = load((), {variable(key): text})
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value


def test_variables_that_kubernetes_sets_for_our_services_are_not_settings() -> None:
    environment = {
        "FIRSTHOP_SERVICE_HOST": "10.0.0.1",
        "FIRSTHOP_PORT": "tcp://10.0.0.1:8080",
        "FIRSTHOP_RELAY_SERVICE_PORT": "3478",
        "FIRSTHOP_RELAY_SERVICE_PORT_MEDIA": "3478",
        "FIRSTHOP_RELAY_PORT": "udp://10.0.0.1:3478",
        "FIRSTHOP_RELAY_PORT_3478_UDP": "udp://10.0.0.1:3478",
        "FIRSTHOP_RELAY_PORT_3478_UDP_ADDR": "10.0.0.1",
    }
    assert load((), environment) == load((), {})


def test_settings_cannot_be_changed() -> None:
    settings = load((), {})
    with pytest.raises(ValidationError):
        settings.relay.workers = 3  # type: ignore[misc]


# What they refuse.


@pytest.mark.parametrize(
    ("key", "text", "allowed"),
    [
        ("relay.listen", '["0.0.0.0"]', "expected ip:port"),
        ("relay.listen", '["0.0.0.0:65536"]', "expected ip:port"),
        ("relay.listen", '["0.0.0.0:8_0"]', "expected ip:port"),
        ("relay.listen", '["0.0.0.0: 80"]', "expected ip:port"),
        ("relay.listen", '["::1:3478"]', "expected ip:port"),
        ("relay.listen", '["[127.0.0.1]:3478"]', "expected ip:port"),
        ("relay.listen", '["[fe80::1%eth0]:3478"]', "expected ip:port"),
        ("relay.listen", '["localhost:3478"]', "expected ip:port"),
        ("relay.listen", "0.0.0.0:3478", "expected a list"),
        ("relay.listen", "[]", "at least 1"),
        ("relay.tcp_listen", '["443"]', "expected ip:port"),
        ("relay.tcp_connections", "0", "greater than or equal to 1"),
        ("relay.tcp_connections_per_address", "many", "integer"),
        ("relay.upstream", "nowhere", "expected ip:port"),
        ("relay.workers", "0", "auto, or a number from 1 to 256"),
        ("relay.workers", "-1", "auto, or a number from 1 to 256"),
        ("relay.workers", "257", "auto, or a number from 1 to 256"),
        ("relay.workers", "many", "auto, or a number from 1 to 256"),
        ("relay.flow_capacity", "0", "greater than or equal to 1"),
        ("relay.busy_poll_us", "-1", "greater than or equal to 0"),
        ("relay.takeover_socket", "/run/" + "x" * 110, "at most 107"),
        ("relay.flow_cache", "redis://10.0.0.9", "expected an object"),
        ("relay.flow_cache.url", "", "expected memory, or redis://"),
        ("relay.flow_cache.url", "none", "expected memory, or redis://"),
        ("relay.flow_cache.url", "redis", "expected memory, or redis://"),
        ("relay.flow_cache.url", "10.0.0.9:6379", "expected memory, or redis://"),
        ("relay.flow_cache.url", "redis://", "expected memory, or redis://"),
        ("relay.flow_cache.url", "redis://:6379", "expected memory, or redis://"),
        ("relay.flow_cache.url", "redis://10.0.0.9:99999", "expected memory, or redis://"),
        ("relay.flow_cache.url", "redis://10.0.0.9/flows", "expected memory, or redis://"),
        ("relay.flow_cache.url", "redis://:a#b@10.0.0.9", "percent-encoded"),
        ("relay.flow_cache.url", "redis://:a/b@10.0.0.9", "percent-encoded"),
        ("relay.flow_cache.url", "unix:///run/redis.sock", "expected memory, or redis://"),
        ("relay.flow_cache.url", "redis://10.0.0.9?socket_timeout=9", "expected no options"),
        ("relay.flow_cache.url", "redis://10.0.0.9?ssl_ca_certs=/x", "expected no options"),
        ("relay.flow_cache.url", "rediss://10.0.0.9?ssl_cert_reqs=none", "expected no options"),
        ("relay.flow_cache.ttl_seconds", "5", "greater than or equal to 60"),
        (
            "relay",
            '{"flow_idle_seconds": 90, "flow_cache": {"url": "redis://10.0.0.9"}}',
            "ttl_seconds to be above flow_idle_seconds",
        ),
        ("relay.flow_cache.budget_ms", "0", "greater than or equal to 1"),
        ("relay.flow_cache.budget_ms", "51", "less than or equal to 50"),
        ("relay.flow_idle_seconds", "soon", "integer"),
        ("relay.clusters", '[{"networks": ["10.0.0.1/8"]}]', "host bits set"),
        ("relay.clusters", '[{"id": 65536}]', "less than or equal to 65535"),
        ("relay.clusters", '[{"ipv6_prefix": "2001:db8::/48"}]', "expected an IPv6 /64"),
        ("relay.clusters", '[{"ipv6_prefix": "10.0.0.0/8"}]', "expected an IPv6 /64"),
        ("relay.clusters", '[{"first_port": 9, "last_port": 3}]', "at most last_port"),
        ("relay", "3478", "expected an object"),
        ("transceiver", '{"listen": "0.0.0.0:3500"}', "set reachable_ip"),
        ("transceiver.shards", "65", "less than or equal to 64"),
        ("transceiver.reachable_ip", "here", "IPv4 or IPv6"),
        ("transceiver.reachable_ip", "fe80::1%eth0", "without a zone"),
        ("transceiver.advertise", '["0.0.0.0:3478"]', "that clients can send to"),
        ("transceiver.advertise", '["192.0.2.1:0"]', "that clients can send to"),
        ("transceiver.advertise_tcp", '["0.0.0.0:443"]', "that clients can send to"),
        ("transceiver.direct", "perhaps", "boolean"),
        ("transceiver.loopback", "perhaps", "boolean"),
        ("transceiver.drain_seconds", "-1", "greater than or equal to 0"),
        ("transceiver.drain_seconds", "86401", "less than or equal to 86400"),
        ("transceiver.drain_seconds", "inf", "less than or equal to 86400"),
        ("transceiver.drain_seconds", "nan", "than or equal to"),
        ("transceiver.handover_seconds", "601", "less than or equal to 600"),
        ("transceiver", '{"drain_seconds": 20}', "to be at least handover_seconds"),
        ("relay.drain_seconds", "soon", "number"),
        ("agent.drain_seconds", "-1", "greater than or equal to 0"),
        ("gateway.drain_seconds", "-1", "greater than or equal to 0"),
        ("transceiver.max_sessions", "0", "greater than or equal to 1"),
        ("transceiver.token_lifetime_seconds", "90000", "less than or equal to 86400"),
        ("signaling.allowed_origins", '["https://a.example/"]', "expected scheme://host"),
        ("signaling.allowed_origins", '["a.example"]', "expected scheme://host"),
        ("signaling.allowed_origins", "https://a.example", "expected a list"),
        ("audio.sample_rate", "22050", "8000, 12000, 16000, 24000 or 48000"),
        ("audio.frame_ms", "10", "20, 40, 60, 80 or 100"),
        ("audio.bitrate", "1", "greater than or equal to 6000"),
        ("audio.complexity", "11", "less than or equal to 10"),
        ("turns.threshold", "1", "less than 1"),
        ("turns.threshold", "nan", "less than 1"),
        ("turns.silence_duration_ms", "10", "greater than or equal to 50"),
        ("backend", "remote", ", or module:function"),
        ("backend", "..:agent", ", or module:function"),
        ("backend", "agents:", ", or module:function"),
        ("log_format", "xml", "'auto', 'json' or 'console'"),
    ],
)
def test_a_bad_value_is_refused_with_its_key_and_what_is_allowed(
    key: str, text: str, allowed: str
) -> None:
    error = refused({variable(key): text})
    assert error.key.startswith(key)
    assert allowed in error.problem
    assert str(error) == f"{error.key}: {error.problem}"
    assert "\n" not in str(error)


def test_a_bad_value_is_shown() -> None:
    assert "'remote'" in refused({"FIRSTHOP_BACKEND": "remote"}).problem


def test_a_long_bad_value_is_shown_in_part() -> None:
    assert len(str(refused({"FIRSTHOP_BACKEND": "x" * 5000}))) < 200


def test_a_wildcard_transceiver_is_fine_without_relay_or_with_an_address_for_it() -> None:
    anywhere = {"FIRSTHOP_TRANSCEIVER__LISTEN": "0.0.0.0:3500"}
    load((), {**anywhere, "FIRSTHOP_TRANSCEIVER__DIRECT": "true"})
    load((), {**anywhere, "FIRSTHOP_TRANSCEIVER__REACHABLE_IP": "10.0.0.7"})


@pytest.mark.parametrize(
    "name",
    [
        "FIRSTHOP_RELAI__WORKERS",
        "FIRSTHOP_RELAY_WORKERS",
        "FIRSTHOP_KEY",
        "FIRSTHOP_SIGNALING_PORT",
        "FIRSTHOP_",
        "firsthop_bakcend",
    ],
)
def test_a_misspelled_variable_is_refused_by_its_name(name: str) -> None:
    error = refused({name: "2"})
    assert error.key == name
    assert "no such setting" in error.problem
    assert "relay" in error.problem, "it tells which there are"


def test_a_misspelled_part_of_a_variable_is_refused() -> None:
    assert refused({"FIRSTHOP_RELAY__WORKER": "2"}).key == "relay.worker"


def test_a_misspelled_setting_of_the_file_is_refused(settings_file: Path) -> None:
    settings_file.write_text("relay: {worker: 2}\n")
    error = refused({}, settings_file)
    assert error.key == "relay.worker"
    assert "is relay.workers meant?" in error.problem


def test_where_nothing_alike_is_known_nothing_is_guessed(settings_file: Path) -> None:
    settings_file.write_text("relay: {colour: green}\n")
    problem = refused({}, settings_file).problem
    assert problem == "no such setting; `firsthop settings` shows all"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("relay:\n\tworkers: 2\n", "not YAML, line 2, column 1: found character '\\t'"),
        ("keys: [\n  a: 2\n", "not YAML, line 3, column 1: expected"),
        ("keys: *s3cret\n", "not YAML, line 1, column 7"),
    ],
)
def test_a_file_that_is_no_yaml_is_refused_with_the_place_and_why(
    settings_file: Path, content: str, says: str
) -> None:
    settings_file.write_text(content)
    problem = refused({}, settings_file).problem
    assert problem.startswith(says)
    assert "s3cret" not in problem


@pytest.mark.parametrize(
    "content",
    [
        b"- a list",
        b"a word",
        b"42",
        b"1: 2",
        b"relay: [",
        b"\xff\xfe\x00",
        b"\tkeys: {}",
        b"*nowhere",
        b"!!python/object:os.system x",
        b"? {a: b}\n: 1",
        b"2001-99-99",
        b"[" * 3000,
    ],
)
def test_a_file_that_holds_no_settings_is_refused_by_its_path(
    settings_file: Path, content: bytes
) -> None:
    settings_file.write_bytes(content)
    error = refused({}, settings_file)
    assert error.key == str(settings_file)
    assert "\n" not in str(error)


def test_a_file_that_cannot_be_read_is_refused_by_its_path(tmp_path: Path) -> None:
    assert "No such file" in refused({}, tmp_path / "missing.yaml").problem
    assert "directory" in refused({}, tmp_path).problem


# Keys.


def test_keys_that_are_missing_are_asked_for_with_the_way_to_make_one() -> None:
    with pytest.raises(ConfigError, match="firsthop key") as error:
        load((), {}).key_bytes()
    assert error.value.key == "keys"


def test_key_to_seal_with_has_to_be_among_the_keys() -> None:
    settings = load((), {"FIRSTHOP_KEYS__1": KEY, "FIRSTHOP_KEYS__2": KEY})
    with pytest.raises(ConfigError, match="which has 1, 2") as error:
        settings.key_bytes()
    assert error.value.key == "key_id"


@pytest.mark.parametrize(
    "environment",
    [
        {"FIRSTHOP_KEYS": SECRET},
        {"FIRSTHOP_KEYS": json.dumps(SECRET)},
        {"FIRSTHOP_KEYS": json.dumps([SECRET])},
        {"FIRSTHOP_KEYS": json.dumps({"0": SECRET + "0"})},
        {"FIRSTHOP_KEYS": json.dumps({"9": SECRET})},
        {"FIRSTHOP_KEYS": json.dumps({"x": SECRET})},
        {"FIRSTHOP_KEYS": json.dumps({"0": {"1": SECRET}})},
        {"FIRSTHOP_KEYS": '{"0": ' + SECRET},
        {"FIRSTHOP_KEYS__0": SECRET[1:]},
        {"FIRSTHOP_KEYS__0__1": SECRET},
        {"FIRSTHOP_KEY_ID": SECRET},
        {"FIRSTHOP_KEY": SECRET},
        {"FIRSTHOP_KEY__0": SECRET},
    ],
)
def test_no_error_shows_a_key(environment: dict[str, str]) -> None:
    error = refused(environment)
    assert SECRET[1:20] not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    "text",
    [
        f"keys: {SECRET}",
        f"keys: {{0: [{SECRET}}}",
        f"keys: {{0: {SECRET}, 1: !x {SECRET}}}",
        f"keys:\n  0: '{SECRET}",
        f"\tkeys: {SECRET}",
        f"keys: *{SECRET}",
        f"keys: [{{0: {SECRET}}}]",
        f"{SECRET}",
    ],
)
def test_no_error_of_a_file_shows_a_key(settings_file: Path, text: str) -> None:
    settings_file.write_text(text)
    error = refused({}, settings_file)
    assert SECRET[1:20] not in "".join(traceback.format_exception(error))


def test_keys_do_not_show_in_a_repr() -> None:
    settings = load((), {"FIRSTHOP_KEYS__0": SECRET})
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings)


# Passwords.

PASSWORD = "hunter2hunter2"


@pytest.mark.parametrize(
    "environment",
    [
        {"FIRSTHOP_RELAY__FLOW_CACHE__URL": f"redis//:{PASSWORD}@10.0.0.9"},
        {"FIRSTHOP_RELAY__FLOW_CACHE__URL": f"redis://:{PASSWORD}@10.0.0.9:port"},
        {"FIRSTHOP_RELAY__FLOW_CACHE__URL": f"redis://:{PASSWORD}#@10.0.0.9"},
        {"FIRSTHOP_RELAY__FLOW_CACHE__URL": f"http://:{PASSWORD}@10.0.0.9"},
        {"FIRSTHOP_RELAY__FLOW_CACHE__URL": json.dumps([f"redis://:{PASSWORD}@h"])},
        {"FIRSTHOP_RELAY__FLOW_CACHE": f"redis://:{PASSWORD}@10.0.0.9"},
        {"FIRSTHOP_RELAY__FLOW_CACHE": f'{{"url": "redis://:{PASSWORD}@10.0.0.9"'},
        {"FIRSTHOP_RELAY": f"redis://:{PASSWORD}@h"},
        {"FIRSTHOP_BACKEND": f"redis://:{PASSWORD}@h"},
    ],
)
def test_no_error_shows_a_password(environment: dict[str, str]) -> None:
    error = refused(environment)
    assert PASSWORD[:6] not in "".join(traceback.format_exception(error))


def test_a_password_is_kept_and_shows_neither_in_a_repr_nor_when_settings_are_written() -> None:
    url = f"redis://me:{PASSWORD}@10.0.0.9:6379/2"
    settings = load((), {"FIRSTHOP_RELAY__FLOW_CACHE__URL": url})
    assert settings.relay.flow_cache.url == url
    assert PASSWORD not in repr(settings)
    assert PASSWORD not in settings.model_dump_json()
    shown = settings.model_dump(mode="json")["relay"]["flow_cache"]["url"]
    assert shown == "redis://me:***@10.0.0.9:6379/2"


# Garbage.

NAMES = st.sampled_from(
    [
        "FIRSTHOP_KEYS",
        "FIRSTHOP_KEYS__0",
        "FIRSTHOP_KEY_ID",
        "FIRSTHOP_RELAY",
        "FIRSTHOP_RELAY__LISTEN",
        "FIRSTHOP_RELAY__WORKERS",
        "FIRSTHOP_RELAY__CLUSTERS",
        "FIRSTHOP_RELAY__FLOW_CACHE__URL",
        "FIRSTHOP_TRANSCEIVER__LISTEN",
        "FIRSTHOP_TRANSCEIVER__REACHABLE_IP",
        "FIRSTHOP_TRANSCEIVER__ADVERTISE",
        "FIRSTHOP_SIGNALING__ALLOWED_ORIGINS",
        "FIRSTHOP_AUDIO__SAMPLE_RATE",
        "FIRSTHOP_TURNS__THRESHOLD",
        "FIRSTHOP_BACKEND",
        "FIRSTHOP_LOG_FORMAT",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3)
    ),
    max_leaves=8,
)


def settings_or_refusal(path: Path | None, environment: dict[str, str]) -> None:
    try:
        assert isinstance(load([] if path is None else [path], environment), Settings)
    except ConfigError as error:
        assert error.key
        assert error.problem


@given(st.dictionaries(NAMES, st.text(max_size=40) | JSON.map(json.dumps), max_size=3))
def test_whatever_variables_hold_gives_settings_or_a_config_error(
    environment: dict[str, str],
) -> None:
    settings_or_refusal(None, environment)


@given(st.binary(max_size=60) | JSON.map(yaml.safe_dump).map(str.encode))
def test_whatever_a_file_holds_gives_settings_or_a_config_error(content: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        settings_or_refusal(Path(file.name), {})


@given(st.dictionaries(st.sampled_from(sorted(Settings.model_fields)), JSON, max_size=3))
def test_whatever_a_setting_holds_gives_settings_or_a_config_error(values: dict[str, Any]) -> None:
    with tempfile.NamedTemporaryFile("w") as file:
        yaml.safe_dump(values, file)
        file.flush()
        settings_or_refusal(Path(file.name), {})
