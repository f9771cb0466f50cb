"""`firsthop load`, asked for what it cannot do."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from firsthop import cli


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the problem that the command tells before it ends with 2."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["firsthop", "load", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
    assert end.value.code == 2
    printed, told = capsys.readouterr()
    assert printed == ""
    assert "Traceback" not in told
    return told.strip().splitlines()[-1]


URL = "http://127.0.0.1:1/whip"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("localhost:8080/whip",), "Invalid value for URL: expected http:// or https:// in front"),
        ((URL, "--door", "sip"), "Invalid value for --door: expected auto, whip or realtime"),
        ((URL, "--callers", "0"), "Invalid value for --callers: expected 1 to 20,000"),
        ((URL, "--callers", "20001"), "Invalid value for --callers: expected 1 to 20,000"),
        ((URL, "--rate", "0"), "Invalid value for --rate: expected calls per second"),
        ((URL, "--rate", "nan"), "Invalid value for --rate: expected calls per second"),
        ((URL, "--seconds", "-1"), "Invalid value for --seconds: expected more than 0"),
        ((URL, "--seconds", "nan"), "Invalid value for --seconds: expected more than 0"),
        ((URL, "--threads", "0"), "Invalid value for --threads: expected 1 to 256"),
        ((URL, "--listeners", "-1"), "Invalid value for --listeners: expected 0 or more"),
        ((URL, "--local", "eth0"), "Invalid value for --local: expected an IP address; got eth0"),
        ((URL, "--local", "192.0.2.1"), "Invalid value for --local: cannot send from 192.0.2.1"),
        ((URL, "--sound", "no.wav"), "Invalid value for --sound: no.wav cannot be read"),
        ((URL, "--idle", "--sound", "no.wav"), "Invalid value for --idle: callers that say"),
        ((URL, "--html", "no/where.html"), "Invalid value for --html: no/where.html cannot be"),
    ],
)
def test_what_is_wrong_is_told_with_what_would_be_right(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: tuple[str, ...],
    problem: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert problem in refused(capsys, *arguments)
    assert not list(tmp_path.iterdir())


def test_an_endpoint_that_is_not_there_is_one_line_with_the_way_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setattr(sys, "argv", ["firsthop", "load", f"http://{address}/whip"])
        with pytest.raises(SystemExit) as end:
            cli.main()
    assert end.value.code == 1
    printed, told = capsys.readouterr()
    assert printed == ""
    problem = f"nobody listens at {address}: start the server, or check the port"
    assert told == f"firsthop: {problem}\n"
