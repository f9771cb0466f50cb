"""WebSockets, through the server that serves them in earnest, by clients of other makers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import websockets
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from firsthop.calls.terms import Terms
from firsthop.errors import OverloadedError
from firsthop.signaling.clientsecret import ClientSecrets
from firsthop.signaling.socketend import MAX_SIDEBAND_MESSAGE
from signaling.edge import API_KEY, BEARER, CALL, GREETING, Edge

KEY = os.urandom(32)
SIDEBAND = f"/v1/realtime?call_id={CALL}"
CALLER = "/v1/realtime?model=any"
#: Good for longer than all tests take: it is made before the first of them runs.
SECRET = ClientSecrets({0: KEY}, 0).seal(
    Terms(session={}, client_events=frozenset({"response.cancel"})), int(time.time()) + 7200
)


@pytest.fixture
def edge() -> Edge:
    return Edge({0: KEY.hex()}, api_keys=[API_KEY])


@contextlib.asynccontextmanager
async def connected(
    address: str, path: str, headers: dict[str, str] | None = None, **options: Any
) -> AsyncIterator[ClientConnection]:
    headers = BEARER if headers is None else headers
    url = f"ws://{address}{path}"
    options = {"proxy": None, "additional_headers": headers, **options}
    async with websockets.connect(url, **options) as socket:
        yield socket


async def refused(
    address: str, path: str, headers: dict[str, str] | None = None, **options: Any
) -> tuple[int, dict[str, Any]]:
    with pytest.raises(InvalidStatus) as error:
        async with connected(address, path, headers, **options):
            pass
    response = error.value.response
    assert response.headers["content-type"] == "application/json"
    problem: dict[str, Any] = json.loads(bytes(response.body or b""))["error"]
    assert problem.keys() == {"message", "type", "code", "param"}
    return response.status_code, problem


async def closed(socket: ClientConnection) -> int | None:
    with contextlib.suppress(ConnectionClosed):
        async for _ in socket:
            pass
    await socket.wait_closed()
    return socket.close_code


@pytest.mark.parametrize("path", [SIDEBAND, CALLER])
async def test_events_travel_both_ways_until_the_client_goes(edge: Edge, path: str) -> None:
    async with edge.served() as address:
        async with connected(address, path) as socket:
            assert await socket.recv() == GREETING
            await socket.send('{"type": "é"}')
            assert await socket.recv() == '{"type": "é"}'
            [end] = edge.calls.ends
            assert end.wants_audio == (path == CALLER)
        await edge.calls.gone.wait()
    assert edge.calls.received == ['{"type": "é"}']
    assert edge.calls.ends == []


@pytest.mark.parametrize("path", [SIDEBAND, CALLER])
async def test_the_end_of_the_call_is_a_normal_close_after_its_last_event(
    edge: Edge, path: str
) -> None:
    async with edge.served() as address, connected(address, path) as socket:
        [end] = edge.calls.ends
        end.deliver("last")
        end.close()
        end.deliver("too late")
        assert [await socket.recv(), await socket.recv()] == [GREETING, "last"]
        assert await closed(socket) == 1000
        assert socket.close_reason == "the call is over"


@pytest.mark.parametrize(
    "subprotocols",
    [
        ["realtime", f"openai-insecure-api-key.{API_KEY}"],
        ["realtime", f"openai-insecure-api-key.{API_KEY}", "openai-agents-sdk.0.20.0"],
        [f"openai-insecure-api-key.{API_KEY}", "realtime", "openai-beta.realtime-v1"],
        ["realtime", f"openai-insecure-api-key.{SECRET}"],
    ],
)
async def test_a_browser_gives_its_key_in_a_subprotocol_and_gets_realtime(
    edge: Edge, subprotocols: list[str]
) -> None:
    async with (
        edge.served() as address,
        connected(address, CALLER, {}, subprotocols=subprotocols) as socket,
    ):
        assert socket.subprotocol == "realtime"
        assert await socket.recv() == GREETING


async def test_a_subprotocol_that_was_not_offered_is_not_selected(edge: Edge) -> None:
    async with edge.served() as address, connected(address, CALLER) as socket:
        assert socket.subprotocol is None


async def test_a_secrets_terms_bind_a_caller_by_websocket(edge: Edge) -> None:
    headers = {"Authorization": f"Bearer {SECRET}"}
    async with edge.served() as address, connected(address, CALLER, headers):
        [terms] = edge.calls.terms
        assert terms.client_events == frozenset({"response.cancel"})
        assert terms.session == {"model": "any"}


@pytest.mark.parametrize("more", ["&intent=transcription", "&api-version=2026&x=", "&intent="])
async def test_other_parameters_are_let_pass(edge: Edge, more: str) -> None:
    async with edge.served() as address, connected(address, CALLER + more) as socket:
        assert await socket.recv() == GREETING


# Refused handshakes.

REFUSED: list[tuple[str, dict[str, str], int, str]] = [
    ("/v1/realtime", BEARER, 400, "invalid_query"),
    ("/v1/realtime?intent=transcription", BEARER, 400, "invalid_query"),
    (f"{SIDEBAND}&model=any", BEARER, 400, "invalid_query"),
    ("/v1/realtime?model=a&model=b", BEARER, 400, "invalid_query"),
    ("/v1/realtime?call_id=rtc_0", BEARER, 404, "call_not_found"),
    ("/v1/realtime?call_id=", BEARER, 404, "call_not_found"),
    (SIDEBAND, {"Authorization": f"Bearer {SECRET}"}, 403, "api_key_needed"),
    (SIDEBAND, {"Authorization": "Bearer ek_forged"}, 401, "invalid_client_secret"),
    (CALLER, {"Authorization": "Bearer ek_forged"}, 401, "invalid_client_secret"),
    (CALLER, {}, 401, "missing_api_key"),
    (CALLER, {"Authorization": "Bearer nobody"}, 401, "invalid_api_key"),
    (CALLER, BEARER | {"Origin": "https://evil.example"}, 403, "origin_not_allowed"),
    ("/v1/elsewhere", BEARER, 404, "not_found"),
    ("/", BEARER, 404, "not_found"),
    ("/demo/client.js", BEARER, 404, "not_found"),
    ("/demo/client.js", {}, 401, "missing_api_key"),
]


@pytest.mark.parametrize(("path", "headers", "status", "code"), REFUSED)
async def test_a_handshake_that_is_refused_says_why(
    edge: Edge, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    async with edge.served() as address:
        answered, problem = await refused(address, path, headers)
    assert (answered, problem["code"]) == (status, code)
    assert edge.calls.ends == []


async def test_no_room_refuses_the_handshake_and_says_when_to_try_again(edge: Edge) -> None:
    edge.calls.refusal = OverloadedError("all sessions are taken")
    async with edge.served() as address:
        assert (await refused(address, CALLER))[0] == 503


async def test_without_upgrade_the_way_is_told(edge: Edge) -> None:
    response = await edge.client.get(CALLER, headers=BEARER)
    assert response.status_code == 426
    assert response.json()["error"]["code"] == "upgrade_required"


# What clients send amiss.


@pytest.mark.parametrize("path", [SIDEBAND, CALLER])
async def test_a_binary_message_is_an_error_event_and_no_more(edge: Edge, path: str) -> None:
    async with edge.served() as address, connected(address, path) as socket:
        assert await socket.recv() == GREETING
        await socket.send(b"\x00\x01")
        event = json.loads(await socket.recv())
        assert (event["type"], event["error"]["code"]) == ("error", "invalid_event")
        assert event["event_id"]
        await socket.send("still here")
        assert await socket.recv() == "still here"


async def test_a_sidebands_message_is_bounded(edge: Edge) -> None:
    async with edge.served() as address, connected(address, SIDEBAND) as socket:
        await socket.send("x" * MAX_SIDEBAND_MESSAGE)
        await socket.send("x" * (MAX_SIDEBAND_MESSAGE + 1))
        assert await closed(socket) == 1009
    assert [len(text) for text in edge.calls.received] == [MAX_SIDEBAND_MESSAGE]


async def test_a_callers_message_holds_what_the_contract_promises(edge: Edge) -> None:
    async with edge.served() as address:
        async with connected(address, CALLER, max_size=None) as socket:
            assert await socket.recv() == GREETING
            await socket.send("x" * (15 * 1024 * 1024))
            await socket.send("small")
            assert await socket.recv() == "small"
        async with connected(address, CALLER) as socket:
            with contextlib.suppress(ConnectionClosed):
                await socket.send("x" * (16 * 1024 * 1024 + 1))
            assert await closed(socket) == 1009
    assert [len(text) for text in edge.calls.received] == [15 * 1024 * 1024, 5]


async def test_text_that_is_none_closes_the_connection(
    edge: Edge, caplog: pytest.LogCaptureFixture
) -> None:
    async with edge.served() as address, connected(address, SIDEBAND) as socket:
        await socket.send(b"\xff\xfe", text=True)
        assert await closed(socket) == 1007
        await edge.calls.gone.wait()
    assert caplog.text == ""


@pytest.mark.parametrize(
    "frame",
    [
        b"\x83\x80\x00\x00\x00\x00",  # An opcode that there is not.
        b"\xf1\x80\x00\x00\x00\x00",  # Reserved bits.
        b"\x81\x01x",  # Not masked.
        b"\x80\x80\x00\x00\x00\x00",  # Continues nothing.
        b"\x89\xfe\x01\x00" + b"\x00" * 260,  # A ping that is too long.
        b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",  # 2**64 bytes.
        b"\x01\x80\x00\x00\x00\x00" + b"\x00\x80\x00\x00\x00\x00" * 5000,  # In empty pieces.
    ],
)
async def test_garbage_ends_its_own_connection(
    edge: Edge, frame: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        edge.served() as address,
        connected(address, SIDEBAND) as other,
        connected(address, SIDEBAND) as socket,
    ):
        assert await other.recv() == GREETING
        socket.transport.write(frame)
        await asyncio.wait_for(closed(socket), 10)
        await other.send("still here")
        assert await other.recv() == "still here"
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET {path} HTTP/1.1\r\nHost: x\r\n{upgrade}Sec-WebSocket-Version: 8\r\n\r\n", 400),
        ("GET {path} HTTP/1.1\r\nHost: x\r\n{upgrade}\r\n", 400),
        ("POST {path} HTTP/1.1\r\nHost: x\r\n{upgrade}\r\n", 405),
        ("GET {path} HTTP/1.1\r\nHost: x\r\nX: " + "x" * 9000 + "\r\n{upgrade}\r\n", 431),
        ("GET {path} HTTP/1.1\r\nHost: x\r\n" + "X: y\r\n" * 200 + "{upgrade}\r\n", 431),
        ("GET {path}&x=" + "x" * 9000 + " HTTP/1.1\r\nHost: x\r\n{upgrade}\r\n", 414),
    ],
)
async def test_what_is_no_handshake_is_answered_in_the_same_form(
    edge: Edge, head: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nAuthorization: Bearer " + API_KEY
    async with edge.served() as address:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head.format(path=CALLER, upgrade=upgrade + "\r\n").encode())
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
    line, _, rest = answer.partition(b"\r\n")
    assert line.startswith(b"HTTP/1.1 %d " % status), answer
    body = json.loads(rest.partition(b"\r\n\r\n")[2])
    assert body["error"]["code"] == "invalid_handshake"
    assert caplog.text == ""


# Clients that do not keep up.


async def test_a_client_that_reads_nothing_is_closed_and_counted(edge: Edge) -> None:
    async with edge.served() as address:
        async with connected(address, SIDEBAND, max_queue=1, ping_interval=None) as socket:
            [end] = edge.calls.ends
            socket.transport.pause_reading()
            for _ in range(200):
                end.deliver("x" * 65_536)
                await asyncio.sleep(0)
            await asyncio.wait_for(edge.calls.gone.wait(), 20)
            socket.transport.abort()
        async with connected(address, SIDEBAND) as socket:
            assert await socket.recv() == GREETING
    assert b"firsthop_signaling_slow_sockets_total 1.0" in edge.metrics.render()


async def test_a_client_that_reads_too_late_hears_why(edge: Edge) -> None:
    async with edge.served() as address, connected(address, SIDEBAND) as socket:
        [end] = edge.calls.ends
        for _ in range(5000):
            end.deliver("x")
        assert await closed(socket) == 1013
        assert socket.close_reason == "events were not read fast enough"


async def test_a_client_that_only_pings_does_not_make_answers_pile_up(edge: Edge) -> None:
    async with (
        edge.served() as address,
        connected(address, SIDEBAND, ping_interval=None) as socket,
    ):
        [end] = edge.calls.ends
        socket.transport.pause_reading()
        for _ in range(100):
            end.deliver("x" * 60_000)
        ping = b"\x89\xfd\x00\x00\x00\x00" + b"x" * 125
        for _ in range(200):
            socket.transport.write(ping * 100)
            await asyncio.sleep(0)
        socket.transport.resume_reading()
        received = 0
        async for _ in socket:
            received += 1
            if received == 101:
                break
        await socket.send("still here")
        assert await socket.recv() == "still here"


@pytest.mark.parametrize("path", [SIDEBAND, CALLER])
async def test_a_client_that_does_not_answer_pings_is_cut_off(edge: Edge, path: str) -> None:
    async with edge.served(ping_seconds=0.1) as address:
        async with connected(address, path, ping_interval=None) as socket:
            socket.transport.pause_reading()
            await edge.calls.gone.wait()
            socket.transport.abort()


async def test_when_the_server_stops_its_clients_hear_so(edge: Edge) -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with edge.served() as address:
            socket = await stack.enter_async_context(connected(address, SIDEBAND))
            assert await socket.recv() == GREETING
        assert await closed(socket) == 1012
