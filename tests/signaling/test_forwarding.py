"""Requests for calls of another transceiver: passed on to it, once, and within bounds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from firsthop.calls.callid import CallIds
from firsthop.signaling import forwarding
from firsthop.signaling.socketend import MAX_SIDEBAND_MESSAGE
from signaling.edge import API_KEY, BEARER, CALLS, GREETING, Edge, client_of, refusal

KEY = os.urandom(32)
KEYS = {0: KEY.hex()}


def call_of(address: str) -> str:
    """Return the id of a call at this address."""
    return CallIds({0: KEY}, 0, address).mint()


class Pair:
    """A transceiver that owns a call, and another one."""

    def __init__(self, **signaling: Any) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self.listener.getsockname())
        self.owner = Edge(KEYS, **{"reachable": self.address, "api_keys": [API_KEY], **signaling})
        self.call = call_of(self.address)
        self.owner.calls.owned = {self.call}
        self.other = Edge(KEYS, **{"reachable": "127.0.0.1:1", "api_keys": [API_KEY], **signaling})

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        """Serve both, and yield where the other one is."""
        async with self.owner.served(self.listener), self.other.served() as address:
            yield address

    def forwarded(self, result: str) -> bool:
        """Whether the other one has passed on one request, with this result."""
        line = f'firsthop_signaling_forwarded_total{{result="{result}"}} 1.0'
        return line in self.other.metrics.render().decode()


@contextlib.asynccontextmanager
async def sideband(
    address: str, call_id: str, headers: dict[str, str] = BEARER, **options: Any
) -> AsyncIterator[ClientConnection]:
    url = f"ws://{address}/v1/realtime?call_id={call_id}"
    options = {"proxy": None, "additional_headers": headers, **options}
    async with websockets.connect(url, **options) as connection:
        yield connection


async def refused_sideband(
    address: str, call_id: str, headers: dict[str, str] = BEARER
) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as error:
        async with sideband(address, call_id, headers):
            pass
    body = json.loads(bytes(error.value.response.body or b""))
    return error.value.response.status_code, body["error"]["code"]


async def closed(connection: ClientConnection) -> tuple[int | None, str | None]:
    with contextlib.suppress(ConnectionClosed):
        async for _ in connection:
            pass
    await connection.wait_closed()
    return connection.close_code, connection.close_reason


# Hang-ups.


@pytest.mark.parametrize("signaling", [{}, {"api_keys": []}], ids=["keys", "no keys"])
async def test_a_hang_up_reaches_the_owner(signaling: dict[str, Any]) -> None:
    pair = Pair(**signaling)
    async with pair.served():
        response = await pair.other.client.post(f"{CALLS}/{pair.call}/hangup", headers=BEARER)
    assert (response.status_code, response.content) == (200, b"")
    assert pair.owner.calls.hung_up == [pair.call]
    assert pair.other.calls.hung_up == []
    assert pair.forwarded("answered")


async def test_what_the_owner_says_is_what_the_client_hears() -> None:
    pair = Pair()
    gone = call_of(pair.address)
    async with pair.served():
        response = await pair.other.client.post(f"{CALLS}/{gone}/hangup", headers=BEARER)
    error = refusal(response, 404)
    assert error["code"] == "call_not_found"
    assert gone in error["message"]


async def test_an_owner_with_other_keys_refuses_what_is_passed_on() -> None:
    pair = Pair()
    pair.owner = Edge(KEYS, reachable=pair.address, api_keys=["another-api-key-of-the-tests"])
    pair.owner.calls.owned = {pair.call}
    async with pair.served():
        response = await pair.other.client.post(f"{CALLS}/{pair.call}/hangup", headers=BEARER)
    assert refusal(response, 401)["code"] == "invalid_api_key"
    assert response.headers["www-authenticate"] == "Bearer"
    assert pair.owner.calls.hung_up == []


async def test_a_stranger_cannot_have_anything_passed_on() -> None:
    pair = Pair()
    async with pair.served():
        refusal(await pair.other.client.post(f"{CALLS}/{pair.call}/hangup"), 401)
    assert not pair.forwarded("answered")


async def test_what_was_passed_on_is_not_again() -> None:
    pair = Pair()
    async with pair.served():
        response = await pair.other.client.post(
            f"{CALLS}/{pair.call}/hangup", headers=BEARER | {forwarding.HEADER: "1"}
        )
    assert refusal(response, 404)["code"] == "call_not_found"
    assert pair.owner.calls.hung_up == []


async def test_a_call_of_our_own_that_is_over_is_not_looked_for_elsewhere() -> None:
    pair = Pair()
    pair.owner.calls.owned = set()
    response = await pair.owner.client.post(f"{CALLS}/{pair.call}/hangup", headers=BEARER)
    assert refusal(response, 404)["code"] == "call_not_found"
    pair.listener.close()


async def test_an_owner_that_is_down_is_told_from_a_call_that_is_over() -> None:
    pair = Pair()
    pair.listener.close()
    response = await pair.other.client.post(f"{CALLS}/{pair.call}/hangup", headers=BEARER)
    error = refusal(response, 502)
    assert error["code"] == "owner_unreachable"
    assert pair.address not in error["message"]
    assert pair.forwarded("unreachable")


async def test_an_owner_that_does_not_answer_is_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(forwarding, "_ANSWER_SECONDS", 0.2)
    pair = Pair()  # Its socket listens, and nobody accepts.
    response = await pair.other.client.post(f"{CALLS}/{pair.call}/hangup", headers=BEARER)
    assert refusal(response, 504)["code"] == "owner_timeout"
    assert pair.forwarded("timeout")
    async with pair.other.served() as address:
        assert await refused_sideband(address, pair.call) == (504, "owner_timeout")
    pair.listener.close()


async def test_without_keys_nothing_leaves_the_machine() -> None:
    edge = Edge(KEYS)
    response = await edge.client.post(f"{CALLS}/{call_of('192.0.2.7:8080')}/hangup")
    error = refusal(response, 403)
    assert error["code"] == "local_only"
    assert "signaling.api_keys" in error["message"]


async def test_without_keys_what_comes_from_another_machine_is_refused() -> None:
    pair = Pair(api_keys=[])
    stranger = client_of(pair.owner.service, "192.0.2.7")
    response = await stranger.post(f"{CALLS}/{pair.call}/hangup", headers={forwarding.HEADER: "1"})
    assert refusal(response, 403)["code"] == "local_only"
    pair.listener.close()


@pytest.mark.parametrize("call_id", ["rtc_0", "x", "%00", "rtc_" + "a" * 63, "../../metrics"])
async def test_an_id_that_nobody_made_leads_nowhere(call_id: str) -> None:
    edge = Edge(KEYS, api_keys=[API_KEY])
    refusal(await edge.client.post(f"{CALLS}/{call_id}/hangup", headers=BEARER), 404)


# Sidebands.


async def test_a_sideband_reaches_the_owner_and_events_travel_both_ways() -> None:
    pair = Pair()
    async with pair.served() as address, sideband(address, pair.call) as client:
        assert await client.recv() == GREETING
        await client.send('{"type": "é"}')
        assert await client.recv() == '{"type": "é"}'
        [end] = pair.owner.calls.ends
        end.deliver("news")
        assert await client.recv() == "news"
        assert pair.other.calls.ends == []
    assert pair.forwarded("answered")


async def test_a_browsers_subprotocol_is_the_owners_credential() -> None:
    pair = Pair()
    offered = ["realtime", f"openai-insecure-api-key.{API_KEY}"]
    async with (
        pair.served() as address,
        sideband(address, pair.call, {}, subprotocols=offered) as client,
    ):
        assert client.subprotocol == "realtime"
        assert await client.recv() == GREETING


async def test_the_end_of_the_call_is_passed_on_after_its_last_event() -> None:
    pair = Pair()
    async with pair.served() as address, sideband(address, pair.call) as client:
        [end] = pair.owner.calls.ends
        for number in range(100):
            end.deliver(str(number))
        end.close()
        received = [await client.recv() for _ in range(101)]
        assert received == [GREETING, *map(str, range(100))]
        assert await closed(client) == (1000, "the call is over")


async def test_a_client_that_goes_is_gone_for_the_owner_too() -> None:
    pair = Pair()
    async with pair.served() as address:
        async with sideband(address, pair.call):
            pass
        await pair.owner.calls.gone.wait()
        async with sideband(address, pair.call) as client:
            pair.owner.calls.gone.clear()
            client.transport.abort()
            await pair.owner.calls.gone.wait()
    assert pair.owner.calls.ends == []


async def test_what_the_owner_refuses_is_refused() -> None:
    pair = Pair()
    async with pair.served() as address:
        assert await refused_sideband(address, call_of(pair.address)) == (404, "call_not_found")
        again = BEARER | {forwarding.HEADER: "1"}
        assert await refused_sideband(address, pair.call, again) == (404, "call_not_found")


async def test_an_owner_that_is_down_refuses_the_handshake() -> None:
    pair = Pair()
    pair.listener.close()
    async with pair.other.served() as address:
        assert await refused_sideband(address, pair.call) == (502, "owner_unreachable")


async def test_messages_are_bounded_and_refused_on_the_way_as_by_the_owner() -> None:
    pair = Pair()
    async with pair.served() as address, sideband(address, pair.call) as client:
        assert await client.recv() == GREETING
        await client.send(b"\x00" * 1000)
        assert json.loads(await client.recv())["error"]["code"] == "invalid_event"
        await client.send("x" * MAX_SIDEBAND_MESSAGE)
        assert len(await client.recv()) == MAX_SIDEBAND_MESSAGE
        await client.send("x" * (MAX_SIDEBAND_MESSAGE + 1))
        assert (await closed(client))[0] == 1009
        await pair.owner.calls.gone.wait()


async def test_a_client_that_reads_nothing_is_closed_by_the_owner() -> None:
    pair = Pair()
    async with pair.served() as address:
        async with sideband(address, pair.call, max_queue=1, ping_interval=None) as client:
            [end] = pair.owner.calls.ends
            client.transport.pause_reading()
            # More than the sockets between us hold.
            while not pair.owner.calls.gone.is_set():
                end.deliver("x" * 65_536)
                await asyncio.sleep(0)
            client.transport.abort()
    assert b"firsthop_signaling_slow_sockets_total 1.0" in pair.owner.metrics.render()


async def test_an_owner_that_breaks_off_is_told_as_such() -> None:
    pair = Pair()
    host, _, port = pair.address.rpartition(":")
    pair.listener.close()

    async def broken(connection: ServerConnection) -> None:
        await connection.recv()
        connection.transport.abort()

    async with (
        serve(broken, host, int(port)),
        pair.other.served() as address,
        sideband(address, pair.call) as client,
    ):
        await client.send("x")
        assert (await closed(client))[0] == 1014
