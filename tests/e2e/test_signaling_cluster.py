"""Several transceivers behind one key: whichever is asked, the call's owner answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
import websockets
from openai.types.realtime import SessionCreatedEvent, SessionUpdatedEvent
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from e2e import http
from e2e.processes import Edge, Process
from e2e.test_bad_requests import OFFER, SDP, refused
from e2e.waiting import until

API_KEY = "an-api-key-of-the-tests-0123"
BEARER = {"Authorization": f"Bearer {API_KEY}"}


async def start(edge: Edge) -> Process:
    return await edge.transceiver("agents:silent", signaling__api_keys=[API_KEY])


async def place(process: Process) -> str:
    """Place a call that nobody will connect, and return its id."""
    async with http.client() as client:
        response = await client.post(
            f"{process.url}/v1/realtime/calls", content=OFFER, headers=SDP | BEARER
        )
    assert response.status_code == 201, response.text
    return response.headers["location"].rpartition("/")[2]


async def hang_up(process: Process, call_id: str) -> httpx.Response:
    async with http.client(timeout=20) as client:
        url = f"{process.url}/v1/realtime/calls/{call_id}/hangup"
        return await client.post(url, headers=BEARER)


@contextlib.asynccontextmanager
async def sideband(process: Process, call_id: str) -> AsyncIterator[ClientConnection]:
    url = f"{process.url.replace('http', 'ws')}/v1/realtime?call_id={call_id}"
    async with websockets.connect(url, additional_headers=BEARER, proxy=None) as connection:
        yield connection


async def event(connection: ClientConnection) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(await connection.recv())
    return value


async def closed(connection: ClientConnection) -> int | None:
    with contextlib.suppress(ConnectionClosed):
        async for _ in connection:
            pass
    await connection.wait_closed()
    return connection.close_code


async def test_a_hang_up_works_at_any_transceiver(edge: Edge) -> None:
    owner, other = await start(edge), await start(edge)
    call_id = await place(owner)
    response = await hang_up(other, call_id)
    assert (response.status_code, response.content) == (200, b"")

    async def over() -> bool:
        return (await hang_up(owner, call_id)).status_code == 404

    await until(over, "the call is over at its owner")
    assert refused(await hang_up(other, call_id), 404)["code"] == "call_not_found"
    assert (await other.metrics())("signaling_forwarded_total", result="answered") == 2


async def test_a_sideband_works_at_any_transceiver_until_the_call_is_over(edge: Edge) -> None:
    owner, other = await start(edge), await start(edge)
    call_id = await place(owner)
    async with sideband(other, call_id) as far, sideband(owner, call_id) as near:
        for connection in (far, near):
            assert (await event(connection))["type"] == "session.created"
        update = {"type": "session.update", "session": {"instructions": "Be brief."}}
        await far.send(json.dumps({**update, "event_id": "mine"}))
        for connection in (far, near):
            updated = await event(connection)
            assert updated["type"] == "session.updated"
            assert updated["session"]["instructions"] == "Be brief."
        await far.send("garbage")
        assert (await event(far))["error"]["code"] == "invalid_json"
        assert (await hang_up(other, call_id)).status_code == 200
        assert await closed(far) == 1000
        assert await closed(near) == 1000


async def test_a_call_whose_owner_was_killed_is_told_from_one_that_is_over(edge: Edge) -> None:
    owner, other = await start(edge), await start(edge)
    call_id = await place(owner)
    async with sideband(other, call_id) as connection:
        assert (await event(connection))["type"] == "session.created"
        owner.kill()
        assert await closed(connection) == 1014
    assert refused(await hang_up(other, call_id), 502)["code"] == "owner_unreachable"
    with pytest.raises(InvalidStatus) as error:
        async with sideband(other, call_id):
            pass
    assert error.value.response.status_code == 502
    body = json.loads(bytes(error.value.response.body or b""))
    assert body["error"]["code"] == "owner_unreachable"

    await owner.start()
    assert refused(await hang_up(other, call_id), 404)["code"] == "call_not_found"


async def test_an_owner_that_hangs_is_not_waited_for_long(edge: Edge) -> None:
    owner, other = await start(edge), await start(edge)
    call_id = await place(owner)
    owner.send(signal.SIGSTOP)
    try:
        assert refused(await hang_up(other, call_id), 504)["code"] == "owner_timeout"
    finally:
        owner.send(signal.SIGCONT)
    assert (await hang_up(other, call_id)).status_code in {200, 404}


async def test_a_call_of_another_cluster_is_nobodys(
    edge: Edge, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ours = await start(edge)
    elsewhere = Edge(tmp_path_factory.mktemp("elsewhere"))
    try:
        theirs = await start(elsewhere)
        refused(await hang_up(ours, await place(theirs)), 404)
    finally:
        await elsewhere.stop()
    elsewhere.check_logs()


async def test_openais_client_gets_secrets_places_calls_and_joins_them(edge: Edge) -> None:
    owner, other = await start(edge), await start(edge)

    def client(process: Process, key: str) -> openai.AsyncOpenAI:
        plain = openai.DefaultAsyncHttpxClient(trust_env=False)
        base = f"{process.url}/v1"
        return openai.AsyncOpenAI(api_key=key, base_url=base, http_client=plain, max_retries=0)

    async with client(owner, API_KEY) as server:
        secret = await server.realtime.client_secrets.create(
            expires_after={"anchor": "created_at", "seconds": 60},
            session={"type": "realtime", "instructions": "Be kind."},
        )
        assert secret.value.startswith("ek_")
        assert secret.session.type == "realtime"
        assert secret.session.instructions == "Be kind."
    # Any transceiver takes the secret, whichever made it.
    async with client(other, secret.value) as browser:
        answer = await browser.realtime.calls.create(sdp=OFFER)
        call_id = answer.response.headers["location"].rpartition("/")[2]
        assert "a=ice-ufrag:" in answer.text
    async with client(owner, API_KEY) as server:
        async with server.realtime.connect(call_id=call_id) as connection:
            greeting = await connection.recv()
            assert isinstance(greeting, SessionCreatedEvent)
            assert greeting.session.type == "realtime"
            assert greeting.session.instructions == "Be kind."
            await connection.session.update(
                session={"type": "realtime", "instructions": "Be brief."}
            )
            assert isinstance(await connection.recv(), SessionUpdatedEvent)
        await server.realtime.calls.hangup(call_id)
        async with server.realtime.connect(model="any") as connection:
            assert isinstance(await connection.recv(), SessionCreatedEvent)


async def test_many_sidebands_of_one_call_end_with_it(edge: Edge) -> None:
    owner, other = await start(edge), await start(edge)
    call_id = await place(owner)
    async with contextlib.AsyncExitStack() as stack:
        connections = [
            await stack.enter_async_context(sideband(process, call_id))
            for process in (owner, other) * 8
        ]
        for connection in connections:
            assert (await event(connection))["type"] == "session.created"
        assert (await hang_up(other, call_id)).status_code == 200
        assert await asyncio.gather(*map(closed, connections)) == [1000] * 16
