"""coturn, the TURN server: what relays WebRTC media today."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

from firsthop.bench import turn
from firsthop.bench.contender import Contender
from firsthop.bench.datagrams import Endpoint, Send
from firsthop.bench.errors import BenchError, SkippedError
from firsthop.bench.load import CLIENT_PORT, Framing
from firsthop.bench.trace import Packet, client_address

_PROGRAM = "turnserver"
_LIFETIME_SECONDS = "3600"


class Coturn(Contender):
    """ChannelData over UDP allocations, one per client.

    It runs without credentials, in one thread: they cost nothing per packet of a bound channel.
    """

    name = "coturn"
    framing: Framing = "datagrams"
    note = "ChannelData, --no-auth"
    _relayed: dict[int, Endpoint]

    def start(self) -> None:
        """Start it; that it is ready shows when it allocates."""
        if shutil.which(_PROGRAM) is None:
            raise SkippedError("coturn is not installed: `apt-get install coturn`")
        host, _, port = str(self.public).rpartition(":")
        command = [
            *(_PROGRAM, "-n", "--listening-ip", host, "--listening-port", port),
            *("--relay-ip", host, "--min-port", "24000", "--max-port", "30000"),
            *("--relay-threads", "0", "--no-auth", "--realm", "bench"),
            *("--no-tcp", "--no-tls", "--no-dtls", "--no-tcp-relay", "--no-cli"),
            *("--allow-loopback-peers", "--no-multicast-peers"),
            *("--max-allocate-lifetime", _LIFETIME_SECONDS),
            *("--channel-lifetime", _LIFETIME_SECONDS),
            *("--permission-lifetime", _LIFETIME_SECONDS),
            *("--userdb", str(self.folder / "turndb"), "--pidfile", str(self.folder / "turn.pid")),
            *("--log-file", "stdout", "--simple-log"),
        ]
        self.launch(command, os.environ)

    def teach(self, clients: int) -> None:
        """Allocate for every client, and bind a channel to the first owner."""
        try:
            self._relayed = turn.allocate(
                self.public, self.owners[0], clients=clients, client_port=CLIENT_PORT
            )
        except BenchError as error:
            raise BenchError(f"{error}; coturn's log: {self.log}") from error

    def up(self, packets: Sequence[Packet]) -> list[Send]:
        """Clients send ChannelData."""
        return [
            Send(
                self.public,
                turn.channel_data(packet.payload),
                source=client_address(packet.client),
            )
            for packet in packets
        ]

    def down(self, packets: Sequence[Packet]) -> list[Send]:
        """The transceiver sends bare packets to each client's relayed address."""
        return [Send(self._relayed[packet.client], packet.payload) for packet in packets]
