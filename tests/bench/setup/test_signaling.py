"""The delayed way of the signaling, between a client and a server that are real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from firsthop.bench.contender import free_endpoint
from firsthop.bench.datagrams import Endpoint
from firsthop.bench.errors import BenchError
from firsthop.bench.setup.signaling import DelayedWay

ANSWER = (
    b"HTTP/1.1 201 Created\r\n\r\nv=0\r\n"
    b"a=candidate:7 1 udp 2130706431 192.0.2.7 4321 typ host\r\n"
    b"a=candidate:8 1 udp 2130706175 192.0.2.8 4322 typ host\r\n"
)


@asynccontextmanager
async def server(answer: bytes) -> AsyncIterator[Endpoint]:
    """Run one that answers each line of a client, and ends when the client does."""
    served: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            writer.write(answer)
        writer.close()

    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.create_task(serve(reader, writer)))

    listener = await asyncio.start_server(take, "127.0.0.1", 0)
    async with listener:
        host, port = listener.sockets[0].getsockname()
        yield Endpoint.parse(f"{host}:{port}")
        await asyncio.gather(*served)


@pytest.mark.parametrize("delay_ms", [0, 5])
async def test_what_is_said_arrives_in_order_and_the_servers_place_is_found(
    delay_ms: float,
) -> None:
    found: list[str] = []
    front = free_endpoint()
    async with server(ANSWER) as place:
        with DelayedWay(place, front, delay_ms, found.append):
            host, port = str(front).split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            for _ in range(3):
                writer.write(b"offer\n")
                assert await reader.readexactly(len(ANSWER)) == ANSWER
            writer.close()
            await writer.wait_closed()
    assert found == ["192.0.2.7:4321"] * 3


async def test_the_end_of_a_server_is_the_end_of_the_connection() -> None:
    front = free_endpoint()
    nobody = free_endpoint()
    with DelayedWay(nobody, front, 0, lambda _: None):
        host, port = str(front).split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_it_can_end_while_a_client_is_connected() -> None:
    front = free_endpoint()
    async with server(ANSWER) as place:
        with DelayedWay(place, front, 1, lambda _: None):
            host, port = str(front).split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"offer\n")
            assert await reader.readexactly(len(ANSWER)) == ANSWER
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_a_port_that_is_taken_says_so() -> None:
    async with server(ANSWER) as place:
        with (
            pytest.raises(BenchError, match="no proxy at"),
            DelayedWay(place, place, 0, lambda _: None),
        ):
            pass
