"""Settings that are wrong: one line says which, what it is, and what would be right."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from e2e import network, processes
from e2e.network import HOST, LOOPBACK
from e2e.processes import Edge

KEYS = {"0": secrets.token_hex(32)}

WRONG: dict[str, tuple[dict[str, object], tuple[str, ...]]] = {
    "an address without a port": ({"relay__listen": ["0.0.0.0"]}, ("relay.listen", "ip:port")),
    "a name for an address": (
        {"transceiver__listen": "localhost:3500"},
        ("transceiver.listen", "'localhost:3500'", "ip:port"),
    ),
    "a port out of range": (
        {"signaling__listen": "127.0.0.1:99999"},
        ("signaling.listen", "99999", "ip:port"),
    ),
    "no workers": ({"relay__workers": "many"}, ("relay.workers", "many", "auto")),
    "a rate that Opus has not": (
        {"audio__sample_rate": "44100"},
        ("audio.sample_rate", "44100", "48000"),
    ),
    "a threshold beyond 1": ({"turns__threshold": "1.5"}, ("turns.threshold", "1.5", "less than")),
    "no shard": ({"transceiver__shards": "0"}, ("transceiver.shards", "'0'", "greater")),
    "an unknown setting": ({"relay__lisen": "x"}, ("relay.lisen", "no such setting")),
    "an unknown section": ({"rely__listen": "x"}, ("RELY__LISTEN", "no such setting", "relay")),
    "no JSON": ({"relay__listen": "[oops"}, ("listen",)),
    "an odd backend": ({"backend": "what is this"}, ("backend", "what is this")),
    "a backend that is not there": (
        {"backend": "no_such_module:agent"},
        ("backend", "no_such_module"),
    ),
    "a backend without the function": (
        {"backend": "agents:nobody"},
        ("backend", "agents", "nobody"),
    ),
    "a network that is none": (
        {"relay__clusters": [{"networks": ["10.0.0.0/99"]}]},
        ("relay.clusters.0.networks", "10.0.0.0/99"),
    ),
}


@pytest.mark.parametrize(("settings", "words"), WRONG.values(), ids=list(WRONG))
def test_a_wrong_setting_is_named_in_one_line(
    settings: dict[str, object], words: tuple[str, ...]
) -> None:
    check_refusal(("dev",), words, **settings)


@pytest.mark.parametrize("command", ["relay", "transceiver"])
def test_a_missing_key_is_asked_for(command: str) -> None:
    check_refusal((command,), ("keys", "firsthop key", "FIRSTHOP_KEYS"), backend="echo")


@pytest.mark.parametrize("key", ["", "abc", "00" * 31, "00" * 33, "zz" * 32])
def test_a_wrong_key_is_refused_and_not_repeated(key: str) -> None:
    text = check_refusal(("relay",), ("keys", "64 hex digits"), keys={"0": key})
    assert not key or key not in text


def test_a_key_id_without_a_key_is_refused() -> None:
    check_refusal(("relay",), ("key_id", "3", "0"), keys=KEYS, key_id="3")


def test_a_settings_file_that_is_missing_or_wrong_is_named(tmp_path: Path) -> None:
    path = tmp_path / "firsthop.yaml"
    check_refusal(("relay", "-c", str(path)), ("firsthop.yaml", "No such file"), keys=KEYS)
    path.write_text("relay: [")
    check_refusal(("relay", "-c", str(path)), ("firsthop.yaml", "line"), keys=KEYS)
    path.write_text("relay:\n  workers: -1.5\n")
    check_refusal(("relay", "-c", str(path)), ("relay.workers", "-1.5"), keys=KEYS)
    path.write_text("- a\n- list\n")
    check_refusal(("relay", "-c", str(path)), ("firsthop.yaml",), keys=KEYS)


@pytest.mark.parametrize(
    "setting",
    [
        "relay.upstream",
        "transceiver.listen",
        "signaling.listen",
    ],
)
async def test_a_port_that_is_taken_is_named_with_its_setting(edge: Edge, setting: str) -> None:
    dev = await edge.dev("echo")
    taken = {
        "relay.upstream": f"{LOOPBACK}:{edge.upstream_port}",
        "transceiver.listen": f"{LOOPBACK}:{edge.first_shard_port}",
        "signaling.listen": f"{LOOPBACK}:{dev.http_port}",
    }
    settings = {
        "relay__listen": [f"{HOST}:{network.ports()}"],
        "relay__upstream": f"{LOOPBACK}:{network.ports(2)}",
        "relay__workers": "2",
        "transceiver__listen": f"{LOOPBACK}:{network.ports()}",
        "signaling__listen": f"{LOOPBACK}:{network.ports()}",
    } | {setting.replace(".", "__"): taken[setting]}
    check_refusal(("dev",), (setting, taken[setting]), backend="echo", **settings)


async def test_a_relay_shares_its_public_port_with_no_other(edge: Edge) -> None:
    """Its workers share it among themselves: the kernel alone would let anybody in."""
    await edge.relay()
    address = f"{HOST}:{edge.relay_port}"
    settings = {
        "relay__listen": [address],
        "relay__upstream": f"{LOOPBACK}:{network.ports(2)}",
        "relay__workers": "2",
        "relay__health_listen": f"{LOOPBACK}:{network.ports()}",
    }
    check_refusal(("relay",), ("relay.listen", address), keys=KEYS, **settings)


def test_an_address_of_another_machine_is_named() -> None:
    words = ("relay.listen", "10.98.0.1", "Cannot assign requested address")
    settings = {"relay__listen": [f"10.98.0.1:{network.ports()}"], "relay__workers": "1"}
    check_refusal(("relay",), words, keys=KEYS, **settings)


def check_refusal(arguments: tuple[str, ...], words: tuple[str, ...], **settings: object) -> str:
    """Check that the command ends at once, with one line that has all `words`; return it."""
    done = processes.run(*arguments, **settings)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("firsthop:")]
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in " ".join(done.stderr.split()), done.stderr
    return done.stdout + done.stderr
