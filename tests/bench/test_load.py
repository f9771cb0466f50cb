"""The load programs with real relays: everything that is sent comes through, and is counted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench import forwards


def test_relays_forward_every_packet_both_ways(tmp_path: Path) -> None:
    # A process of its own: it moves into a network namespace, if it may.
    done = subprocess.run(
        [sys.executable, forwards.__file__, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    packets = forwards.PACKETS
    assert done.stdout.splitlines() == [
        f"{name} {direction}: {packets} sent, {packets} received, CPU time taken"
        for name in ("c-mmsg", "firsthop")
        for direction in ("up", "down")
    ]
