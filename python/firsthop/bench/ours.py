"""firsthop's own relay, as a contender: the real process, taught as transceivers teach it."""

from __future__ import annotations

import http.client
import secrets
import socket
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from firsthop._native import seal_hop_header, seal_token
from firsthop.bench.contender import READY_SECONDS, Contender, free_endpoint
from firsthop.bench.datagrams import Endpoint, Send, bundles, trains
from firsthop.bench.environment import environment
from firsthop.bench.errors import BenchError
from firsthop.bench.isolation import Isolation
from firsthop.bench.load import CLIENT_PORT
from firsthop.bench.trace import Packet, client_address

CLUSTER = 1
_CONFIRM_AND_PATH = 3
_HOP_LIMIT = 3
_TICK_SECONDS = 16
_SLOT_SECONDS = 900
#: How many slots a token lasts: longer than any run.
_SLOTS_AHEAD = 4
#: What the relay is sent at once while it is taught, and how long it then has for it.
_TEACH_DATAGRAMS = 32
_TEACH_NAP_SECONDS = 0.003
_TEACH_TRIES = 3
#: HTTP is served by the control plane, which may have much to do after a million new flows.
_HTTP_SECONDS = 60.0

_STUN_HEADER = struct.Struct(">HHI12s")
_BINDING_REQUEST = 0x0001
_STUN_COOKIE = 0x2112A442
_USERNAME = 0x0006


class Firsthop(Contender):
    """`firsthop relay` with one worker, everything on that it has in production.

    Args:
        isolation: Where it runs.
        owners: The transceivers.
        folder: For its log.
        name: As it is called in the report.
        flow_capacity: ``relay.flow_capacity``.
    """

    name = "firsthop"

    def __init__(
        self,
        isolation: Isolation,
        owners: Sequence[Endpoint],
        folder: Path,
        *,
        name: str = "firsthop",
        flow_capacity: int = 100_000,
    ) -> None:
        super().__init__(isolation, owners, folder)
        self.name = name
        self.upstream = free_endpoint()
        self._health = free_endpoint()
        self._secret = secrets.token_bytes(32)
        self._flow_capacity = flow_capacity

    def start(self) -> None:
        """Start it, and wait until it says that it is ready."""
        ports = [owner.port for owner in self.owners]
        cluster = {
            "id": CLUSTER,
            "networks": ["127.0.0.0/8"],
            "first_port": min(ports),
            "last_port": max(ports),
        }
        settings: Mapping[str, object] = {
            "KEYS": {"0": self._secret.hex()},
            "RELAY__LISTEN": [str(self.public)],
            "RELAY__UPSTREAM": str(self.upstream),
            "RELAY__WORKERS": "1",
            "RELAY__FLOW_CAPACITY": str(self._flow_capacity),
            # Longer than any case: what expires is learned again in life, but not here.
            "RELAY__FLOW_IDLE_SECONDS": "3600",
            "RELAY__CLUSTERS": [cluster],
            "RELAY__HEALTH_LISTEN": str(self._health),
        }
        run = "from firsthop.cli import main; main()"
        self.launch([sys.executable, "-c", run, "relay"], environment(settings))
        deadline = time.monotonic() + READY_SECONDS
        while not self._ready():
            self.check(deadline)
            time.sleep(0.05)

    def teach(self, clients: int) -> None:
        """Confirm every client's address, each by its owner: client n belongs to owner n."""
        for _ in range(_TEACH_TRIES):
            for number, owner in enumerate(self.owners):
                self._confirm(owner, range(number, clients, len(self.owners)))
            if self._flows() == clients:
                return
        raise BenchError(f"{self.name} knows {self._flows()} flows instead of {clients}")

    def up(self, packets: Sequence[Packet]) -> list[Send]:
        """Clients send bare packets."""
        return [
            Send(self.public, packet.payload, source=client_address(packet.client))
            for packet in packets
        ]

    def down(self, packets: Sequence[Packet]) -> list[Send]:
        """The transceiver sends bundles of records, as GSO trains. Good for half a minute."""
        owner = self.owners[0]
        clients = {packet.client for packet in packets}
        headers = {client: self._header(owner, client) for client in clients}
        records = [_record(headers[packet.client], packet.payload) for packet in packets]
        return list(trains(records, self.upstream))

    def binding_requests(self, count: int) -> list[Send]:
        """Return first binding requests of `count` clients, each with a valid token of its own."""
        return [
            Send(self.public, self._binding_request(client), source=client_address(client))
            for client in range(count)
        ]

    def resident_bytes(self) -> int:
        """Return how much memory the process holds (VmRSS)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise BenchError("the kernel does not tell VmRSS")

    def _confirm(self, owner: Endpoint, clients: range) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((socket.inet_ntoa(owner.ip), owner.port))
            to = (socket.inet_ntoa(self.upstream.ip), self.upstream.port)
            records = (self._header(owner, client) for client in clients)
            for number, (datagram, _) in enumerate(bundles(records)):
                if number % _TEACH_DATAGRAMS == 0:
                    time.sleep(_TEACH_NAP_SECONDS)
                sock.sendto(datagram, to)
        # The last ones are on their way.
        time.sleep(0.1)

    def _header(self, owner: Endpoint, client: int) -> bytes:
        """Seal what an owner says of a client whose address is proved; the payload is empty."""
        address = socket.inet_ntoa(client_address(client))
        return seal_hop_header(
            secret=self._secret,
            key_id=0,
            owner=str(owner),
            direction="down",
            flags=_CONFIRM_AND_PATH,
            hop_limit=_HOP_LIMIT,
            tick=int(time.time()) // _TICK_SECONDS % 65536,
            client=f"{address}:{CLIENT_PORT}",
            ingress=0,
            return_hop=None,
        )

    def _binding_request(self, client: int) -> bytes:
        """Make the STUN message that opens a call (RFC 8489 §5); nobody checks its integrity."""
        owner = self.owners[0]
        ufrag = seal_token(
            master=self._secret,
            key_id=0,
            cluster=CLUSTER,
            address=socket.inet_ntoa(owner.ip),
            port=owner.port,
            expiry_slot=(int(time.time()) // _SLOT_SECONDS + _SLOTS_AHEAD) % 256,
            nonce=client.to_bytes(6, "big"),
        )
        username = f"{ufrag}:bnch".encode()
        attribute = struct.pack(">HH", _USERNAME, len(username)) + username
        attribute += bytes(-len(username) % 4)
        transaction = client.to_bytes(12, "big")
        header = _STUN_HEADER.pack(_BINDING_REQUEST, len(attribute), _STUN_COOKIE, transaction)
        return header + attribute

    def _flows(self) -> int:
        status, text = self._get("/metrics")
        if status != http.client.OK:
            raise BenchError(
                f"{self.name} does not show its metrics: {status}; its log: {self.log}"
            )
        for family in text_string_to_metric_families(text):
            if family.name == "firsthop_relay_flows":
                return int(family.samples[0].value)
        return 0

    def _ready(self) -> bool:
        try:
            return self._get("/readyz")[0] == http.client.OK
        except OSError:
            return False

    def _get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(
            socket.inet_ntoa(self._health.ip), self._health.port, timeout=_HTTP_SECONDS
        )
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()


def _record(header: bytes, payload: bytes) -> bytes:
    """Put a packet behind a sealed header; the length is not under the MAC."""
    return header[:10] + len(payload).to_bytes(2, "big") + header[12:] + payload
