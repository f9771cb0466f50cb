"""The command, as a shell sees it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

import firsthop
from firsthop import cli
from firsthop._native import edge_key, seal_token
from firsthop.config import Settings
from firsthop.telemetry import logs

KEY = "ab" * 32


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


class Shell:
    """Runs the command with an environment of its own, in this process."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
    ) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "path", list(sys.path))
        # Logs are set up for a whole process: not for this one.
        monkeypatch.setattr(logs, "configure", lambda log_format: None)

    def __call__(self, *arguments: str, **environment: str) -> Done:
        """Run the command until it ends."""
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["firsthop", *arguments])
            for name, value in environment.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as end:
                cli.main()
        code = end.value.code or 0
        assert isinstance(code, int)
        return Done(code, *self._capsys.readouterr())


@pytest.fixture
def firsthop_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Shell:
    return Shell(monkeypatch, capsys, tmp_path)


def refused(done: Done) -> str:
    """Return the one line that a command printed before it gave up."""
    assert done.returncode == 1
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    return line


@pytest.fixture
def taken() -> Iterator[str]:
    """Yield an address, TCP and UDP, where somebody else listens."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        udp.bind(tcp.getsockname())
        yield f"127.0.0.1:{tcp.getsockname()[1]}"


def test_key_makes_another_key_each_time_that_settings_take(firsthop_command: Shell) -> None:
    keys = [firsthop_command("key").stdout.strip() for _ in range(2)]
    assert keys[0] != keys[1]
    for key in keys:
        assert Settings(keys={0: key}).key_bytes() == {0: bytes.fromhex(key)}


def test_key_edge_prints_what_edge_keys_take(firsthop_command: Shell, tmp_path: Path) -> None:
    done = firsthop_command(
        "key", "edge", FIRSTHOP_KEYS__0=KEY, FIRSTHOP_KEYS__2="cd" * 32, FIRSTHOP_KEY_ID="2"
    )
    assert KEY not in done.stdout
    printed = yaml.safe_load(done.stdout)
    assert printed[1]["key_id"] == 2
    assert printed[1]["keys"] == {0: edge_key(bytes.fromhex(KEY)).hex(), 2: printed[1]["keys"][2]}
    assert set(Settings(edge_keys=printed).edge_keys) == {1}


def test_key_edge_is_of_the_cluster_that_the_settings_are_for(firsthop_command: Shell) -> None:
    keys = {"FIRSTHOP_KEYS__0": KEY}
    done = firsthop_command("key", "edge", **keys, FIRSTHOP_TRANSCEIVER__CLUSTER="7")
    assert list(yaml.safe_load(done.stdout)) == [7]
    relay = {"FIRSTHOP_RELAY__CLUSTER": "8", "FIRSTHOP_FLEET__FILE": "fleet.yaml"}
    assert list(yaml.safe_load(firsthop_command("key", "edge", **keys, **relay).stdout)) == [8]
    done = firsthop_command("key", "edge", "--cluster", "9", **keys)
    assert list(yaml.safe_load(done.stdout)) == [9]


def test_key_edge_without_keys_is_one_line(firsthop_command: Shell) -> None:
    assert refused(firsthop_command("key", "edge")).startswith("firsthop: keys: ")


def test_version_is_the_packages() -> None:
    # The installed command, as a shell finds it.
    command = [str(Path(sys.executable).with_name("firsthop")), "version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"{firsthop.__version__}\n"


def test_settings_show_what_is_in_effect_without_keys(
    firsthop_command: Shell, tmp_path: Path
) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("relay: {workers: 3}\nbackend: echo\n")
    done = firsthop_command(
        "settings", "-c", str(path), FIRSTHOP_KEYS__0=KEY, FIRSTHOP_BACKEND="my.agent:talk"
    )
    assert done.returncode == 0
    assert KEY not in done.stdout
    shown = yaml.safe_load(done.stdout)
    assert shown["relay"]["workers"] == 3
    assert shown["backend"] == "my.agent:talk"
    assert shown["audio"]["sample_rate"] == 16_000


def test_settings_can_be_read_back(firsthop_command: Shell, tmp_path: Path) -> None:
    first = firsthop_command("settings").stdout
    path = tmp_path / "settings.yaml"
    path.write_text(first)
    assert firsthop_command("settings", "-c", str(path)).stdout == first


def token(port: int = 3500) -> str:
    return seal_token(
        master=bytes.fromhex(KEY),
        key_id=0,
        cluster=1,
        address="127.0.0.1",
        port=port,
        expiry_slot=(int(time.time()) // 900 + 12) % 256,
        nonce=bytes(6),
    )


def test_a_token_is_explained(firsthop_command: Shell) -> None:
    done = firsthop_command("token", "inspect", token(), FIRSTHOP_KEYS__0=KEY)
    assert done.returncode == 0
    shown = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert [name for name, _ in shown] == [
        "key",
        "format",
        "version",
        "cluster",
        "owner",
        "expires",
        "relay",
    ]
    fields = dict(shown)
    assert fields["owner"].strip() == "127.0.0.1:3500"
    assert "UTC, in 3 h" in fields["expires"]
    assert KEY not in done.stdout


def test_a_token_is_explained_to_programs(firsthop_command: Shell) -> None:
    done = firsthop_command("token", "inspect", "--json", token(), FIRSTHOP_KEYS__0=KEY)
    fields = json.loads(done.stdout)
    assert (fields["owner"], fields["refusal"]) == ("127.0.0.1:3500", None)
    assert datetime.fromisoformat(fields["expires"]) > datetime.now(UTC)


def test_a_token_that_a_relay_drops_is_explained_and_a_failure(firsthop_command: Shell) -> None:
    done = firsthop_command("token", "inspect", "--json", token(port=9), FIRSTHOP_KEYS__0=KEY)
    assert done.returncode == 1
    assert "not among 3500-3599" in json.loads(done.stdout)["refusal"]


def test_what_is_no_token_is_one_line(firsthop_command: Shell) -> None:
    line = refused(firsthop_command("token", "inspect", "nonsense", FIRSTHOP_KEYS__0=KEY))
    assert "a=ice-ufrag" in line
    line = refused(firsthop_command("token", "inspect", token()))
    assert line.startswith("firsthop: keys: ")


def test_a_password_is_not_shown_with_the_settings(firsthop_command: Shell) -> None:
    url = "redis://:swordfish@10.0.0.9"
    done = firsthop_command("settings", FIRSTHOP_RELAY__FLOW_CACHE__URL=url)
    assert "redis://:***@10.0.0.9" in done.stdout
    assert "swordfish" not in done.stdout


def test_help_lists_the_commands(firsthop_command: Shell) -> None:
    shown = firsthop_command("--help").stdout
    for command in ("dev", "relay", "transceiver", "key", "settings", "token", "version"):
        assert command in shown


def test_help_cuts_no_summary_short(firsthop_command: Shell) -> None:
    for group in ((), ("bench",), ("key",), ("token",), ("steer",)):
        shown = firsthop_command(*group, "--help", COLUMNS="80").stdout
        assert "Commands:" in shown
        assert "..." not in shown.partition("Commands:")[2], group


def test_the_version_is_told_either_way(firsthop_command: Shell) -> None:
    told = firsthop_command("--version")
    assert told == firsthop_command("version")
    assert told == Done(0, f"{firsthop.__version__}\n", "")


def test_without_a_command_it_helps_and_fails(firsthop_command: Shell) -> None:
    done = firsthop_command()
    assert done.returncode == 2
    assert "transceiver" in done.stdout


def test_a_wrong_setting_is_one_line(firsthop_command: Shell) -> None:
    line = refused(firsthop_command("settings", FIRSTHOP_RELAY__WORKERS="many"))
    assert line == "firsthop: relay.workers: 'many': expected auto, or a number from 1 to 256"


@pytest.mark.parametrize("text", ["[red]", "[/red]", "[fe80::1]:x", ":boom:", "\\[bold]"])
def test_what_a_user_wrote_is_shown_as_it_was_written(firsthop_command: Shell, text: str) -> None:
    line = refused(firsthop_command("settings", FIRSTHOP_RELAY__UPSTREAM=text))
    assert repr(text) in line


def test_a_long_line_stays_one_line(firsthop_command: Shell) -> None:
    line = refused(firsthop_command("settings", FIRSTHOP_BAKCEND="echo", COLUMNS="40"))
    assert "no such setting" in line


def test_a_settings_file_that_is_missing_is_one_line(firsthop_command: Shell) -> None:
    assert "nowhere.yaml" in refused(firsthop_command("settings", "-c", "nowhere.yaml"))


def test_a_backend_that_is_missing_is_one_line(firsthop_command: Shell) -> None:
    line = refused(firsthop_command("dev", "--backend", "nowhere:agent"))
    assert line == "firsthop: backend: 'nowhere:agent': No module named 'nowhere'"


@pytest.mark.parametrize("command", ["relay", "transceiver"])
def test_missing_keys_are_one_line(firsthop_command: Shell, command: str) -> None:
    line = refused(firsthop_command(command, FIRSTHOP_BACKEND="echo", FIRSTHOP_LOG_FORMAT="json"))
    assert line.startswith("firsthop: keys: ")
    assert "firsthop key" in line


def test_a_relay_address_that_is_taken_is_one_line(firsthop_command: Shell, taken: str) -> None:
    line = refused(
        firsthop_command("relay", FIRSTHOP_KEYS__0=KEY, FIRSTHOP_RELAY__LISTEN=f'["{taken}"]')
    )
    assert taken in line
    assert "in use" in line
    assert "FIRSTHOP_RELAY__LISTEN" in line


def test_a_transceiver_address_that_is_taken_is_one_line(
    firsthop_command: Shell, taken: str
) -> None:
    line = refused(
        firsthop_command(
            "transceiver",
            "--backend",
            "echo",
            FIRSTHOP_KEYS__0=KEY,
            FIRSTHOP_TRANSCEIVER__LISTEN=taken,
        )
    )
    assert taken in line
    assert "FIRSTHOP_TRANSCEIVER__LISTEN" in line


def test_a_missing_voice_is_one_line(firsthop_command: Shell, tmp_path: Path) -> None:
    line = refused(firsthop_command("agent", PATH=str(tmp_path)))
    assert "apt-get install espeak-ng" in line
