"""The servers that are measured, without measuring them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from firsthop.bench.errors import SkippedError
from firsthop.bench.media import servers
from firsthop.bench.media.servers import Aiortc, Firsthop, Pion


def test_without_libopus_pion_is_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SkippedError, match=r"pion is left out: .*libopus-dev"):
        Pion(0, "127.0.0.1", "pcm", tmp_path).start()


@pytest.mark.parametrize(("echo", "backend"), [("pcm", "echo"), ("packets", "mirror")])
def test_firsthop_encodes_as_the_others_do(
    echo: servers.Echo, backend: str, tmp_path: Path
) -> None:
    server = Firsthop(0, "10.99.0.1", echo, tmp_path)
    settings = server.variables()
    server.stop()
    assert settings["FIRSTHOP_BACKEND"] == backend
    assert json.loads(settings["FIRSTHOP_TRANSCEIVER__ADVERTISE"]) == [server.media]
    encoder = ("SAMPLE_RATE", "BITRATE", "COMPLEXITY")
    assert [int(settings[f"FIRSTHOP_AUDIO__{name}"]) for name in encoder] == [
        servers.RATE,
        servers.BITRATE,
        servers.COMPLEXITY,
    ]


def test_versions_are_told() -> None:
    told = servers.versions()
    assert told["aiortc"]
    assert (told["Pion"] or "").startswith("v4.")


def test_a_readers_note_is_with_whom_settings_are_not_equal() -> None:
    assert [kind.name for kind in (Firsthop, Pion, Aiortc) if kind.note] == ["aiortc"]
