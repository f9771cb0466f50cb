"""Running the parts in one process, until they are told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from firsthop import runner, webserver
from firsthop.addresses import own_address
from firsthop.call import Call
from firsthop.config import (
    ClusterSettings,
    RelaySettings,
    Settings,
    SignalingSettings,
    TransceiverSettings,
)
from firsthop.errors import FirsthopError

LOCAL = {
    "FIRSTHOP_RELAY__LISTEN": '["127.0.0.1:0"]',
    "FIRSTHOP_RELAY__UPSTREAM": "127.0.0.1:0",
    "FIRSTHOP_RELAY__WORKERS": "1",
    "FIRSTHOP_TRANSCEIVER__LISTEN": "127.0.0.1:0",
    "FIRSTHOP_SIGNALING__LISTEN": "127.0.0.1:0",
    "FIRSTHOP_LOG_FORMAT": "json",
}
SCRIPT = """
import firsthop

async def agent(call):
    async for event in call:
        pass

firsthop.run(agent)
"""


async def agent(call: Call) -> None:
    """Say nothing."""


def script(tmp_path: Path, **environment: str) -> subprocess.Popen[str]:
    path = tmp_path / "agent.py"
    path.write_text(SCRIPT)
    return subprocess.Popen(
        [sys.executable, str(path)],
        env={**os.environ, **LOCAL, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_script_runs_until_it_is_told_to_stop(tmp_path: Path, stop: signal.Signals) -> None:
    with script(tmp_path) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "Ctrl-C" in line:
                break
        process.send_signal(stop)
        _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in log
    assert [line.split('"event": "')[1].split('"')[0] for line in log.splitlines()] == [
        "relay.started",
        "transceiver.started",
        "signaling.no_api_keys",
        "transceiver.stopped",
        "relay.stopped",
    ]


def test_a_script_that_cannot_run_ends_with_one_line(tmp_path: Path) -> None:
    with script(tmp_path, FIRSTHOP_AUDIO__FRAME_MS="7") as process:
        shown, log = process.communicate(timeout=60)
    assert process.returncode == 1
    assert shown == ""
    assert log == "firsthop: audio.frame_ms: 7: Input should be 20, 40, 60, 80 or 100\n"


def test_the_error_behind_a_refusal_to_run_is_kept_for_programs() -> None:
    settings = Settings(key_id=1, keys={0: "ab" * 32})
    with pytest.raises(SystemExit, match="firsthop: key_id: 1 is not among keys") as end:
        runner.run(agent, settings)
    assert isinstance(end.value.__cause__, FirsthopError)


async def test_an_http_address_that_is_taken_stops_everything_and_is_named() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        settings = Settings(
            backend="echo",
            relay=RelaySettings(listen=("127.0.0.1:0",), upstream="127.0.0.1:0", workers=1),
            transceiver=TransceiverSettings(listen="127.0.0.1:0"),
            signaling=SignalingSettings(listen=taken),
        )
        with pytest.raises(webserver.StartError, match=r"^signaling\.listen ") as error:
            await runner.serve_dev(settings)
        assert taken in str(error.value)
        assert "in use" in str(error.value)
        assert "FIRSTHOP_SIGNALING__LISTEN" in str(error.value)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert left == set()


def test_dev_serves_tcp_where_it_serves_udp_unless_settings_say_where() -> None:
    relay = RelaySettings(listen=("192.0.2.1:3478",))
    transceiver = TransceiverSettings(advertise=("203.0.113.1:3478",))
    settings = runner._joined(Settings(relay=relay, transceiver=transceiver))
    assert settings.relay.tcp_listen == ("192.0.2.1:3478",)
    assert settings.transceiver.advertise_tcp == ("203.0.113.1:3478",)

    elsewhere = Settings(
        relay=relay.model_copy(update={"tcp_listen": ("192.0.2.1:443",)}),
        transceiver=transceiver.model_copy(update={"advertise_tcp": ("203.0.113.1:443",)}),
    )
    assert runner._joined(elsewhere) == elsewhere
    assert runner._joined(Settings()).transceiver.advertise_tcp == (f"{own_address()}:3478",)


def test_dev_names_the_relay_where_it_listens() -> None:
    relay = RelaySettings(listen=("0.0.0.0:4478", "127.0.0.1:4479", "[::]:4478"))
    transceiver = runner._joined(Settings(relay=relay)).transceiver
    assert transceiver.advertise == (f"{own_address()}:4478", "127.0.0.1:4479")
    assert transceiver.advertise_tcp == transceiver.advertise

    unknown = RelaySettings(listen=("127.0.0.1:0",))
    assert runner._joined(Settings(relay=unknown)).transceiver.advertise == ()


def test_dev_forwards_to_its_transceiver_on_whatever_port() -> None:
    moved = TransceiverSettings(listen="127.0.0.1:4500", shards=2)
    [cluster] = runner._joined(Settings(transceiver=moved)).relay.clusters
    assert (cluster.first_port, cluster.last_port) == (4500, 4501)

    chosen = RelaySettings(clusters=(ClusterSettings(first_port=1, last_port=9),))
    assert runner._joined(Settings(relay=chosen, transceiver=moved)).relay.clusters == (
        chosen.clusters
    )


def test_addresses_with_brackets_are_announced_as_they_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    webserver._announce([("relay", "udp [fd00::2]:3478", "[bold]")], "")
    shown = capsys.readouterr().out
    assert "udp [fd00::2]:3478" in shown
    assert "[bold]" in shown
