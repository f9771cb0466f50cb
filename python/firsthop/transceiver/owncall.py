"""One call of a transceiver to itself, as a caller's goes: a client, a relay, the engine, and back.

The client is the one of `firsthop load`. The relay is there for this one call, forwards to this
transceiver only, and has the keys that count now. What the client says comes back to it, so the
call went well if there was an answer to ICE and to DTLS, and sound went through both ways.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

from firsthop._native import CallerReport, Callers, Cluster, Event, Relay
from firsthop.addresses import Candidates
from firsthop.config import Settings
from firsthop.errors import FirsthopError, OverloadedError
from firsthop.transceiver.engine import EngineLoop

#: How long it may take from the answer until sound is back, in seconds.
PATIENCE: Final = 2.0
_LOOK_EVERY: Final = 0.01
_GOODBYE: Final = 1.0
_HERE: Final = "127.0.0.1"
#: Of a call, flows and TCP connections are few.
_FEW: Final = 16
#: 20 ms of silence (RFC 6716): what is said does not matter.
_SILENCE: Final = b"\xf8\xff\xfe"
_UTTERANCE: Final = 1
_FAILURES: Final = {
    "ice": "no answer to ICE",
    "dtls": "DTLS failed",
    "lost": "answers to ICE stopped",
    "protocol": "what came back breaks the protocol",
    "closed_by_server": "the engine closed the call",
}


class OwnCallError(FirsthopError):
    """The call came to nothing; the message says how far it got."""


class OwnCalls:
    """Places calls of a transceiver to itself. They take no place from callers, and count as none.

    Args:
        engine: The engine, which has a place for one such call at a time.
    """

    def __init__(self, engine: EngineLoop) -> None:
        self._engine = engine
        self._sessions = 0

    @property
    def sessions(self) -> int:
        """How many sessions of the engine are such calls now."""
        return self._sessions

    def possible(self) -> bool:
        """Whether the address that tokens name is one of this machine.

        If it is not, relays reach it by a translation that from here there may be no way through.
        """
        owner = self._owner()
        family = socket.AF_INET6 if owner.version == 6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((str(owner), 0))
            except OSError:
                return False
        return True

    async def place(self, settings: Settings) -> float:
        """Place one call, and return how long it took until it had heard itself, in seconds.

        Args:
            settings: Whose keys and cluster count.

        Raises:
            OwnCallError: It did not.
        """
        began = asyncio.get_running_loop().time()
        try:
            async with self._relay(settings) as relay, _client() as client:
                heard = await self._call(relay, client)
        except OSError as error:
            raise OwnCallError(f"no socket or thread for it: {error.strerror or error}") from None
        except (FirsthopError, RuntimeError, ValueError, LookupError) as error:
            if isinstance(error, OwnCallError):
                raise
            raise OwnCallError(str(error)) from None
        return heard - began

    async def _call(self, relay: Relay, client: Callers) -> float:
        closed = asyncio.Event()

        def handle(event: Event) -> None:
            match event:
                case Event.Connected(session=session):
                    # Otherwise it is noticed that no sound comes back.
                    with contextlib.suppress(OverloadedError):
                        self._engine.engine.mirror(session, _UTTERANCE)
                case Event.Closed():
                    self._sessions -= 1
                    closed.set()

        caller, offer = client.offer()
        address = relay.local_addresses()[0]
        session, answer = self._engine.accept(offer, handle, None, None, Candidates((address,)))
        self._sessions += 1
        try:
            client.answer(caller, answer)
            heard = await _heard(relay, client, caller)
            client.hang_up(caller)
            # Once the engine has heard the goodbye, nothing of the call is under way any more.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(closed.wait(), _GOODBYE)
            return heard
        finally:
            if not closed.is_set():
                self._engine.engine.close(session)

    @asynccontextmanager
    async def _relay(self, settings: Settings) -> AsyncIterator[Relay]:
        owner = self._owner()
        ports = [int(address.rpartition(":")[2]) for address in self._engine.engine.addresses()]
        prefix = IPv6Network((int(owner) >> 64 << 64, 64)) if owner.version == 6 else None
        cluster = Cluster(
            settings.transceiver.cluster,
            networks=[f"{owner}/{owner.max_prefixlen}"],
            first_port=min(ports),
            last_port=max(ports),
            ipv6_prefix=None if prefix is None else str(prefix),
            keys=settings.key_bytes(),
            key_id=settings.key_id,
        )
        relay = Relay(
            listen=[f"{_HERE}:0"],
            tcp_listen=[],
            tcp_connections=_FEW,
            tcp_connections_per_address=_FEW,
            # What answers to the owner's address has to come from there.
            upstream=f"[{owner}]:0" if owner.version == 6 else f"{owner}:0",
            workers=1,
            pin=False,
            busy_poll_us=0,
            flow_capacity=_FEW,
            flow_idle_seconds=settings.relay.flow_idle_seconds,
            look_up=False,
            site=0,
            edges=[],
            clusters=[cluster],
            sockets=None,
        )
        relay.run()
        try:
            yield relay
        finally:
            await asyncio.to_thread(relay.stop)

    def _owner(self) -> IPv4Address | IPv6Address:
        return ip_address(self._engine.engine.addresses()[0].rpartition(":")[0].strip("[]"))


@asynccontextmanager
async def _client() -> AsyncIterator[Callers]:
    client = Callers(local=_HERE, threads=1, sound=[_SILENCE], marks=[], channel=None)
    try:
        yield client
    finally:
        await asyncio.to_thread(client.stop)


async def _heard(relay: Relay, client: Callers, caller: int) -> float:
    """Wait until the client has heard what it said; return when that was, by the loop's clock."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    while True:
        # Asked elsewhere: the client's thread may have no core for a moment.
        report = await asyncio.to_thread(client.call, caller)
        if "audio" in report.stages_ms:
            return loop.time()
        if report.failure is not None:
            raise OwnCallError(_FAILURES.get(report.failure, report.failure))
        if loop.time() > deadline:
            raise OwnCallError(f"{_missing(report, relay)} within {PATIENCE:g} s")
        await asyncio.sleep(_LOOK_EVERY)


def _missing(report: CallerReport, relay: Relay) -> str:
    """What did not happen."""
    stages = report.stages_ms
    if "connected" in stages:
        return "no sound came back"
    if "ice" in stages:
        return "no answer to DTLS"
    counters = relay.counters()
    dropped = [name for name, count in counters.items() if name.startswith("dropped_") and count]
    why = ", ".join(name.removeprefix("dropped_") for name in dropped)
    return f"no answer to ICE (the relay drops: {why})" if why else "no answer to ICE"
