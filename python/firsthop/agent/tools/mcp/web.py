"""A server of tools that is reached by HTTP (MCP's streamable HTTP)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

import httpx2
from mcp.client.streamable_http import streamable_http_client

from firsthop.agent.tools.mcp.process import MAX_MESSAGE_BYTES
from firsthop.authorities import authorities

_TIMEOUT: Final = 10.0
#: Tools have the time that is set for them, which is less.
_READ_TIMEOUT: Final = 700.0
#: How long taking leave may take.
_GOODBYE_TIMEOUT: Final = 1.0
_MAX_CONNECTIONS: Final = 1000


@asynccontextmanager
async def web(
    url: str, api_key: str | None, lost: Callable[[str], None], refused: Callable[[int], None]
) -> AsyncIterator[object]:
    """Yield the streams of messages to and from a server.

    Args:
        url: Where it is.
        api_key: What it is shown, as a bearer token.
        lost: Told when it does not know our session any more.
        refused: Told the status of each answer that is an error.
    """

    async def sending(request: httpx2.Request) -> None:
        if request.method == "DELETE":
            timeout = httpx2.Timeout(_GOODBYE_TIMEOUT).as_dict()
            request.extensions = {**request.extensions, "timeout": timeout}

    async def received(response: httpx2.Response) -> None:
        if response.is_error:
            refused(response.status_code)
        # Specification 2025-11-25, Session Management: the client must start a new session.
        gone = response.status_code == HTTPStatus.NOT_FOUND
        if gone and "mcp-session-id" in response.request.headers:
            lost("it has forgotten our session")
        if response.headers.get("content-type", "").lower().startswith("application/json"):
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _Bounded(response.stream)

    client = httpx2.AsyncClient(
        headers={"authorization": f"Bearer {api_key}"} if api_key else None,
        timeout=httpx2.Timeout(_TIMEOUT, read=_READ_TIMEOUT),
        limits=httpx2.Limits(max_connections=_MAX_CONNECTIONS),
        verify=authorities(),
        event_hooks={"request": [sending], "response": [received]},
    )
    async with (
        client,
        streamable_http_client(
            url, http_client=client, max_sse_event_size=MAX_MESSAGE_BYTES
        ) as streams,
    ):
        yield streams


class _Bounded(httpx2.AsyncByteStream):
    """A body that may be as long as a message may be. Streams of events have a limit for each."""

    def __init__(self, body: httpx2.AsyncByteStream) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        length = 0
        async for piece in self._body:
            length += len(piece)
            if length > MAX_MESSAGE_BYTES:
                raise httpx2.StreamError(f"more than {MAX_MESSAGE_BYTES} bytes")
            yield piece

    async def aclose(self) -> None:
        await self._body.aclose()
