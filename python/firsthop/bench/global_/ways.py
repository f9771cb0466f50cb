"""The ways in which a user far from the cluster can call it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from firsthop.bench.contender import READY_SECONDS
from firsthop.bench.errors import BenchError, SkippedError
from firsthop.bench.link import Conditions
from firsthop.bench.programs import Program
from firsthop.bench.world.deployment import PUBLIC_PORT, Deployment
from firsthop.bench.world.world import World

DIRECT, TURN, TURN_AT_ONCE, RELAYED = "direct", "TURN", "TURN, offer first", "Global Relay"
DOOR: Final = "/v1/realtime/calls"
#: Not the edge's own.
_TURN_PORT: Final = PUBLIC_PORT + 1000
_USER, _PASSWORD, _REALM = "bench", "bench", "bench"
_TURN: Final = "turnserver"


@dataclass(frozen=True)
class Way:
    """A way to call."""

    name: str
    origin: str
    """Where offers go."""
    far_ms: float
    """A round trip to the cluster by this way, on average."""
    configuration: Mapping[str, Any] = field(default_factory=dict)
    """Of the client's connection (`RTCConfiguration`)."""
    waits: bool = False
    """Whether the client sends its offer when it has its candidates, and not at once."""

    @property
    def how(self) -> dict[str, Any]:
        """What the page is told."""
        return {"configuration": dict(self.configuration), "waits": self.waits}


def ways(world: World, deployment: Deployment, user: str, cluster: str) -> list[Way]:
    """Return all ways from a region to a cluster. What is relayed by TURN goes by `start_turn`."""
    far_ms = world.map.one_way_ms[frozenset((user, cluster))]
    straight_ms = _round_trip_ms(world.map.public(far_ms))
    near_ms = _round_trip_ms(world.map.public(world.map.within_ms))
    direct = deployment.url(deployment.direct[cluster])
    assert deployment.gateway is not None
    server = {
        "urls": f"turn:{world.address(f'{user}.edge')}:{_TURN_PORT}?transport=udp",
        "username": _USER,
        "credential": _PASSWORD,
    }
    turn = {
        "iceServers": [server],
        "iceTransportPolicy": "relay",
        # Otherwise a browser asks for each m-line, until it knows that they share a transport.
        "bundlePolicy": "max-bundle",
    }
    relayed_ms = near_ms + 2 * far_ms
    return [
        Way(DIRECT, direct, straight_ms),
        Way(TURN, direct, relayed_ms, turn, waits=True),
        Way(TURN_AT_ONCE, direct, relayed_ms, turn),
        Way(RELAYED, deployment.url(deployment.gateway), relayed_ms),
    ]


def _round_trip_ms(one_way: Conditions) -> float:
    return 2 * (one_way.delay_ms + one_way.jitter_ms)


def start_turn(world: World, region: str, folder: Path, running: ExitStack) -> None:
    """Start coturn near the users of a region, with credentials, as it is used.

    Raises:
        SkippedError: It is not installed.
        BenchError: It does not come up.
    """
    if shutil.which(_TURN) is None:
        raise SkippedError("coturn is not installed: `apt-get install coturn`")
    place = f"{region}.edge"
    host = world.address(place)
    command = [
        *(*world.within(place), _TURN, "-n", "--listening-ip", host, "--relay-ip", host),
        *("--listening-port", str(_TURN_PORT), "--min-port", "24000", "--max-port", "30000"),
        *("--lt-cred-mech", "--user", f"{_USER}:{_PASSWORD}", "--realm", _REALM),
        *("--no-tls", "--no-dtls", "--no-cli", "--no-multicast-peers"),
        *("--userdb", str(folder / "turndb"), "--pidfile", str(folder / "turn.pid")),
        *("--log-file", "stdout", "--simple-log"),
    ]
    program = Program("coturn", command, os.environ, folder)
    running.callback(program.stop)
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        # It takes TCP as well.
        if world.listens(place, host, _TURN_PORT):
            return
        time.sleep(0.05)
    raise BenchError(f"coturn does not come up. It said: {' '.join(program.said()[-5:])}")
