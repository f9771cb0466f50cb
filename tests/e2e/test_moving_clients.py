"""Chromium's calls while its network changes: other mappings of a NAT, other networks, and none.

The browser is on a phone, `e2e.phone`, behind NATs that are the kernel's own.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from e2e import network, sound
from e2e.caller_page import CallerPage, opened
from e2e.chromium import empty_page
from e2e.network import HOST
from e2e.phone import (
    MOBILE,
    OTHER_PUBLIC,
    PUBLIC,
    WLAN,
    Access,
    Datagram,
    Phone,
    missing,
    stun_type,
)
from e2e.processes import Edge, Metrics, Process
from e2e.waiting import until
from firsthop.bench import chromium
from firsthop.bench.world.namespaces import NamespaceError

_problem = missing()
pytestmark = pytest.mark.skipif(_problem is not None, reason=f"no phone here: {_problem}")

#: A browser wants a core to itself, or what is heard of it stumbles.
alone = pytest.mark.browser

WAYS = ["relay", "direct"]
#: Chromium checks a pair that works every 2.5 s. In packets of 20 ms, and half a second more for a
#: machine that has other things to do.
_CHECK_INTERVAL = 125 + 25
_REQUEST, _SUCCESS = 0x0001, 0x0101
#: Decision 0003.
_UNPROVED_FACTOR = 3
#: Consent lasts 30 s (RFC 7675 §5.1). This decides how long a test that fails takes.
_CONSENT_SECONDS = 40.0

Address = tuple[str, int]


@pytest.fixture
def phone() -> Iterator[Phone]:
    """Yield a phone that is in no network yet."""
    with ExitStack() as stack:
        try:
            phone = stack.enter_context(Phone())
        except (NamespaceError, OSError) as error:
            pytest.skip(f"no phone here: {error}")
        yield phone


async def served(edge: Edge, way: str, backend: str = "agents:mirror") -> tuple[Process, Address]:
    """Start what answers; return it, and where clients send their media."""
    if way == "relay":
        return await edge.dev(backend), (HOST, edge.relay_port)
    # Where the phone reaches it.
    place = f"{HOST}:{edge.first_shard_port}"
    process = await edge.transceiver(
        backend,
        transceiver__listen=place,
        transceiver__direct=True,
        transceiver__advertise=[place],
    )
    return process, (HOST, edge.first_shard_port)


@asynccontextmanager
async def page_on(phone: Phone, process: Process, folder: Path) -> AsyncIterator[CallerPage]:
    """Run a browser on the phone; in the end no log may have its addresses."""
    program = chromium.program()
    assert program is not None, chromium.MISSING
    on_phone = phone.program(program, folder)
    async with (
        phone.reaching(process.http_port),
        empty_page(folder, sound.silence(1), program=on_phone) as page,
    ):
        yield await opened(page, process.url)
    said = process.log.read_text()
    assert not [one for one in (*PUBLIC, WLAN.address, MOBILE.address) if one in said]


@alone
@pytest.mark.parametrize("way", WAYS)
async def test_a_page_is_heard_and_hears_from_the_first_check_on_that_comes_by_another_mapping(
    edge: Edge, phone: Phone, tmp_path: Path, way: str
) -> None:
    process, server = await served(edge, way)
    phone.join(WLAN)
    async with page_on(phone, process, tmp_path) as page:
        await page.call("realtime", 500)
        await page.echoes(500)
        ufrag = await page.ufrag()
        # Another port, and then another IP address.
        for public, hertz in ((WLAN.public, 700), (OTHER_PUBLIC, 900)):
            lost = await lost_by(page)
            with phone.tap() as tap:
                ports = phone.map(WLAN, public)
                await page.do("replaceMicrophone", hertz)
                await page.echoes(hertz)
            check_move(tap.seen, server, public, ports)
            assert await lost_by(page) - lost <= _CHECK_INTERVAL
        # The same call, the same ICE session, and not a word of signaling.
        assert await page.ufrag() == ufrag
        assert await page.get("statuses") == [201]
        assert (await process.metrics())("transceiver_setup_seconds_count") == 1


def check_move(seen: Sequence[Datagram], server: Address, public: str, ports: range) -> None:
    """Assert that media followed the first checks from a new address, and nothing else did.

    Args:
        seen: What passed between NAT and server, from some moment before the move on.
        server: Where that is.
        public: The IP address since the move.
        ports: The port is one of these.
    """
    new = [datagram.source for datagram in seen if datagram.destination == server][-1]
    assert new[0] == public and new[1] in ports
    seen = seen[index(seen, lambda datagram: datagram.source == new) :]

    def up(datagram: Datagram) -> bool:
        return datagram.source == new

    # Nobody hears what comes before the first authenticated check.
    answered = index(seen, lambda one: one.destination == new and one.stun == _SUCCESS)
    assert sum(up(one) and one.rtp for one in seen[:answered]) <= _CHECK_INTERVAL

    # Media comes once our own check is answered, which does not wait for another of theirs: two
    # make room for one that was on its way.
    served = index(seen, lambda one: one.destination == new and one.stun is None)
    assert sum(up(one) and one.stun == _REQUEST for one in seen[:served]) <= 2
    assert any(up(one) and one.stun == _SUCCESS for one in seen[:served])
    # And it comes nowhere else.
    media = [one for one in seen[served:] if one.source == server and one.stun is None]
    assert {one.destination for one in media} == {new}


@alone
@pytest.mark.parametrize("way", WAYS)
async def test_who_says_a_pages_packets_from_elsewhere_gets_none_of_its_media(
    edge: Edge, phone: Phone, tmp_path: Path, way: str
) -> None:
    process, server = await served(edge, way)
    phone.join(WLAN)
    async with page_on(phone, process, tmp_path) as page:
        await page.call("realtime", 500)
        await page.echoes(500)
        with Thief(server) as thief:
            # Nobody else brings these: checks that nominate, and the newest of the sound.
            with phone.silenced(WLAN), phone.tap(WLAN) as tap:
                await until(lambda: thief.takes(tap.seen), "a check and sound are stolen")
            await until(thief.is_asked, "the server checks the thief's address")
            await page.do("replaceMicrophone", 700)
            await page.echoes(700)
            thief.check()
        assert await page.get("pc.iceConnectionState") == "connected"
        assert await page.get("statuses") == [201]


class Thief:
    """Somebody on the way of a client's packets, who says them as its own. A context manager."""

    def __init__(self, server: Address) -> None:
        self._server = server
        self._taken = 0
        self._checks = 0
        self._sound = 0
        self._sent_bytes = 0
        self._got: list[bytes] = []

    def __enter__(self) -> Thief:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((HOST, network.ports()))
        self._socket.setblocking(False)
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def takes(self, seen: Sequence[Datagram]) -> bool:
        """Send what was seen since the last time; return whether sound came after a check."""
        stolen = [each for each in seen[self._taken :] if each.destination == self._server]
        self._taken = len(seen)
        for datagram in stolen:
            self._socket.sendto(datagram.payload, self._server)
            self._sent_bytes += len(datagram.payload)
            self._checks += datagram.stun == _REQUEST
            self._sound += self._checks > 0 and datagram.rtp
        return self._sound >= 25

    def is_asked(self) -> bool:
        """Return whether the server wants to know who is there."""
        with suppress(BlockingIOError):
            while True:
                self._got.append(self._socket.recv(65_535))
        return any(stun_type(each) == _REQUEST for each in self._got)

    def check(self) -> None:
        """Assert that what it got was no media, and not enough to flood anybody."""
        assert self.is_asked()
        assert {stun_type(each) for each in self._got} <= {_REQUEST, _SUCCESS}
        assert sum(map(len, self._got)) <= _UNPROVED_FACTOR * self._sent_bytes


async def test_a_page_without_network_for_some_seconds_goes_on_when_it_is_back(
    edge: Edge, phone: Phone, tmp_path: Path
) -> None:
    process, _ = await served(edge, "relay")
    phone.join(WLAN)
    async with page_on(phone, process, tmp_path) as page:
        await page.call("realtime", 500)
        await page.echoes(500)
        phone.unplug(WLAN)

        async def noticed() -> bool:
            return bool(await page.get("pc.iceConnectionState") == "disconnected")

        await until(noticed, "the page notices")
        phone.plug(WLAN)
        await page.do("replaceMicrophone", 700)
        await page.echoes(700)
        assert await page.get("statuses") == [201]
        assert (await process.metrics())("transceiver_calls_ended_total") == 0


async def test_a_call_whose_client_lost_its_network_is_over_and_the_client_may_call_again(
    edge: Edge, phone: Phone, tmp_path: Path
) -> None:
    """It takes half a minute, of silence: other tests may run beside it."""
    process, _ = await served(edge, "relay", "agents:witness")
    phone.join(WLAN)
    async with page_on(phone, process, tmp_path) as page:
        await page.call("realtime", 500)
        await page.echoes(500)
        phone.unplug(WLAN)

        async def over() -> Metrics | None:
            metrics = await process.metrics()
            left = metrics("transceiver_sessions") + metrics("relay_flows")
            return None if left else metrics

        metrics: Metrics = await until(over, "the call is over", _CONSENT_SECONDS, every=0.2)
        assert metrics.by("reason", "transceiver_calls_ended_total") == {"consent_lost": 1}

        def told() -> bool:
            return '{"event": "witness.told", "reason": "consent_lost"}' in process.log.read_text()

        await until(told, "the agent is told why")
        assert await page.get("pc.iceConnectionState") in ("disconnected", "failed")

        phone.plug(WLAN)
        await page.call("realtime", 700)
        await page.echoes(700)


@alone
async def test_a_page_in_two_networks_goes_on_by_the_other_when_it_leaves_the_one_in_use(
    edge: Edge, phone: Phone, tmp_path: Path
) -> None:
    process, _ = await served(edge, "relay")
    phone.join(WLAN)
    phone.join(MOBILE)
    async with page_on(phone, process, tmp_path) as page:
        await page.call("realtime", 500)
        await page.echoes(500)

        async def tried() -> bool:
            pairs = await page.stats("candidate-pair")
            return len([pair for pair in pairs if pair["state"] == "succeeded"]) >= 2

        await until(tried, "both networks lead to the relay")
        used, ufrag = await network_in_use(page), await page.ufrag()
        phone.leave(used)
        await page.do("replaceMicrophone", 700)
        await page.echoes(700)
        assert {used, await network_in_use(page)} == {WLAN, MOBILE}
        assert await page.ufrag() == ufrag
        assert await page.get("statuses") == [201]
        assert (await process.metrics())("transceiver_setup_seconds_count") == 1


async def network_in_use(page: CallerPage) -> Access:
    """Return the network by which the page sends its media."""
    stats = {entry["id"]: entry for entry in await page.do("stats")}
    [transport] = [entry for entry in stats.values() if entry["type"] == "transport"]
    pair = stats[transport["selectedCandidatePairId"]]
    local = stats[pair["localCandidateId"]]["address"]
    [used] = [one for one in (WLAN, MOBILE) if local in (one.address, one.public)]
    return used


#: What pages have to do. Chromium says "online" when it had no network for a moment, and learns by
#: its checks, some seconds later, that the one it uses is gone while it has another.
_RESTARTS = """
(restart) => {
  addEventListener("online", () => client[restart]());
  client.pc.addEventListener("iceconnectionstatechange", () => {
    if (client.pc.iceConnectionState === "disconnected") client[restart]();
  });
}
"""


@alone
@pytest.mark.parametrize(
    ("door", "restart", "overlap"),
    [("whip", "restartByWhip", False), ("pipecat", "restartIce", True)],
    ids=["whip, one after the other", "pipecat, both for a moment"],
)
async def test_a_page_whose_network_becomes_another_restarts_ice_and_its_call_goes_on(
    edge: Edge, phone: Phone, tmp_path: Path, door: str, restart: str, overlap: bool
) -> None:
    process, _ = await served(edge, "relay")
    phone.join(WLAN)
    async with page_on(phone, process, tmp_path) as page:
        await page.call(door, 500)
        await page.echoes(500)
        await page.page.evaluate(_RESTARTS, restart)
        call_id, ufrag = await page.get("callId"), await page.ufrag()
        if overlap:
            phone.join(MOBILE)
            phone.leave(WLAN)
        else:
            phone.leave(WLAN)
            phone.join(MOBILE)
        await page.do("replaceMicrophone", 700)
        await page.echoes(700)
        assert await network_in_use(page) == MOBILE
        assert await page.ufrag() != ufrag
        assert await page.get("callId") == call_id
        assert (await process.metrics())("transceiver_setup_seconds_count") == 1


async def lost_by(page: CallerPage) -> int:
    """Return how many packets of the agent's sound the page misses, by their sequence numbers."""
    [stream] = await page.stats("inbound-rtp")
    return int(stream["packetsLost"])


def index(seen: Sequence[Datagram], wanted: Callable[[Datagram], bool]) -> int:
    """Return where the first is that is wanted."""
    found = next((number for number, each in enumerate(seen) if wanted(each)), None)
    assert found is not None, "there is none"
    return found
