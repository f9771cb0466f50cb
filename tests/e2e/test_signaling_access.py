"""Who is served by a real transceiver, and what hostile WebSocket clients do to it: nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import websockets
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from e2e import http
from e2e.network import HOST
from e2e.processes import Edge, Process, run
from e2e.test_bad_requests import OFFER, SDP, refused
from e2e.waiting import until

API_KEY = "an-api-key-of-the-tests-0123"
BEARER = {"Authorization": f"Bearer {API_KEY}"}
CALLS = "/v1/realtime/calls"
SECRETS = "/v1/realtime/client_secrets"


@contextlib.asynccontextmanager
async def client_of(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with http.client(base_url=url) as client:
        yield client


@contextlib.asynccontextmanager
async def caller(process: Process, **options: Any) -> AsyncIterator[ClientConnection]:
    """A client whose only line is a WebSocket; it has been greeted."""
    url = f"{process.url.replace('http', 'ws')}/v1/realtime?model=any"
    async with websockets.connect(
        url, additional_headers=BEARER, proxy=None, **options
    ) as connection:
        assert json.loads(await connection.recv())["type"] == "session.created"
        yield connection


async def test_without_keys_this_machine_is_served_and_nobody_else(edge: Edge) -> None:
    process = await edge.transceiver("agents:silent", "0.0.0.0")
    port = process.http_port
    text = process.log.read_text()
    assert "no API keys set: serves this machine only" in text
    assert "signaling.no_api_keys" in text
    async with client_of(process.url) as local, client_of(f"http://{HOST}:{port}") as stranger:
        assert (await local.post(CALLS, content=OFFER, headers=SDP)).status_code == 201
        error = refused(await stranger.post(CALLS, content=OFFER, headers=SDP | BEARER), 403)
        assert error["code"] == "local_only"
        assert "FIRSTHOP_SIGNALING__API_KEYS" in error["message"]
        # A proxy on this machine says for whom it asks.
        via = {"X-Forwarded-For": "203.0.113.7"}
        assert refused(await local.post(SECRETS, json={}, headers=via), 403)["code"] == "local_only"
        assert (await stranger.get("/healthz")).status_code == 200
        rebound = {"Host": f"rebound.example:{port}", "Origin": f"http://rebound.example:{port}"}
        refused(await local.post(SECRETS, json={}, headers=rebound), 403)
        metrics = await process.metrics()
        assert metrics("signaling_access_refused_total", code="local_only") == 2
        assert metrics("signaling_access_refused_total", code="origin_not_allowed") == 1


async def test_with_keys_who_has_one_is_served_from_anywhere(edge: Edge) -> None:
    process = await edge.transceiver("agents:silent", "0.0.0.0", signaling__api_keys=[API_KEY])
    port = process.http_port
    async with client_of(f"http://{HOST}:{port}") as stranger:
        refused(await stranger.post(CALLS, content=OFFER, headers=SDP), 401)
        placed = await stranger.post(CALLS, content=OFFER, headers=SDP | BEARER)
        assert placed.status_code == 201
        secret = (await stranger.post(SECRETS, json={}, headers=BEARER)).json()["value"]
        as_browser = SDP | {"Authorization": f"Bearer {secret}"}
        assert (await stranger.post(CALLS, content=OFFER, headers=as_browser)).status_code == 201
        refused(await stranger.post(SECRETS, json={}, headers=as_browser), 403)
        url = f"ws://{HOST}:{port}{placed.headers['location']}"
        url = re.sub(r"/calls/(rtc_\w+)", r"?call_id=\1", url)
        async with websockets.connect(url, additional_headers=BEARER, proxy=None) as joined:
            assert json.loads(await joined.recv())["type"] == "session.created"
        for headers, status in ((as_browser, 403), ({}, 401)):
            with pytest.raises(InvalidStatus) as error:
                async with websockets.connect(url, additional_headers=headers, proxy=None):
                    pass
            assert error.value.response.status_code == status
    log = process.log.read_text()
    assert API_KEY not in log
    assert "ek_" not in log
    assert "no API keys" not in log


def test_settings_never_show_api_keys() -> None:
    shown = run("settings", signaling__api_keys=[API_KEY])
    assert shown.returncode == 0
    assert API_KEY not in shown.stdout + shown.stderr
    refusal = run("settings", signaling__api_keys=[API_KEY, "short-and-secret"])
    assert refusal.returncode == 1
    assert "signaling.api_keys.1" in refusal.stderr
    assert "short-and-secret" not in refusal.stderr


GARBAGE = {
    "no opcode": b"\x83\x80\x00\x00\x00\x00",
    "reserved bits": b"\xf1\x80\x00\x00\x00\x00",
    "not masked": b"\x81\x01x",
    "a continuation of nothing": b"\x80\x80\x00\x00\x00\x00",
    "2**63 bytes": b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",
    "17 MiB": b"\x81\xff" + (17 * 1024 * 1024).to_bytes(8) + bytes(4),
    "text that is none": b"\x81\x82\x00\x00\x00\x00\xff\xfe",
    "nothing, in thousands of pieces": b"\x01\x80\x00\x00\x00\x00"
    + b"\x00\x80\x00\x00\x00\x00" * 5000,
}
EVENTS: dict[str, str | bytes] = {
    "binary": b"\x00\x01\x02",
    "not JSON": "hello",
    "an array": "[1, 2]",
    "deep": "[" * 100_000,
    "no type": "{}",
    "an infinite number": '{"type": "response.create", "response": {"temperature": 1e999}}',
    "sound that is none": '{"type": "input_audio_buffer.append", "audio": "%%%"}',
}


async def test_hostile_clients_end_only_their_own_connections(edge: Edge) -> None:
    process = await edge.transceiver("agents:silent", signaling__api_keys=[API_KEY])
    async with caller(process) as bystander:
        for name, frames in GARBAGE.items():
            async with caller(process) as connection:
                connection.transport.write(frames)
                with contextlib.suppress(ConnectionClosed):
                    async for _ in connection:
                        pass
                assert connection.close_code in {1002, 1007, 1009}, name
        for name, event in EVENTS.items():
            async with caller(process) as connection:
                await connection.send(event)
                assert await first(connection, "error"), name
        for _ in range(20):
            async with caller(process) as connection:
                connection.transport.write(os.urandom(2000))
                connection.transport.abort()
        await bystander.send('{"type": "session.update", "session": {"instructions": "x"}}')
        assert await first(bystander, "session.updated")
        await until_only_one_is_left(process)


async def first(connection: ClientConnection, kind: str) -> bool:
    """Wait for an event of this type."""
    async for message in connection:
        if json.loads(message)["type"] == kind:
            return True
    return False


async def until_only_one_is_left(process: Process) -> None:
    async def left() -> bool:
        ended = (await process.metrics()).by("reason", "transceiver_calls_ended_total")
        return sum(ended.values()) == len(GARBAGE) + len(EVENTS) + 20

    await until(left, "all calls but one are over")


async def test_a_client_that_asks_and_never_reads_is_let_go(edge: Edge) -> None:
    process = await edge.transceiver("agents:silent", signaling__api_keys=[API_KEY])
    big = json.dumps({"type": "session.update", "session": {"instructions": "x" * 60_000}})
    async with caller(process, max_queue=1) as connection:
        connection.transport.pause_reading()

        async def slow() -> bool:
            with contextlib.suppress(ConnectionClosed, TimeoutError):
                async with asyncio.timeout(1):
                    for _ in range(20):
                        await connection.send(big)
            return (await process.metrics())("signaling_slow_sockets_total") == 1

        await until(slow, "it is counted as one that does not keep up", 60)
        connection.transport.abort()
    async with caller(process):
        pass
