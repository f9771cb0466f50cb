"""A client's WebSocket joined with a server's: what one says, the other hears."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from fastapi import WebSocket, WebSocketDisconnect
from starlette.websockets import WebSocketState
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from firsthop.signaling.socketend import NORMAL, TOO_BIG, close
from firsthop.tasks import cancel, raise_failure

#: So long may a client take what the server said last.
_FAREWELL_SECONDS: Final = 5.0

# Close codes (RFC 6455 §7.4.1 and IANA's registry).
_NO_STATUS: Final = 1005
_ABNORMAL: Final = 1006
_BAD_GATEWAY: Final = 1014


async def join(websocket: WebSocket, upstream: ClientConnection, limit: int, gone: str) -> None:
    """Pass messages both ways until either is closed.

    Who is slow is not read for, so nothing piles up here.

    Args:
        websocket: The client's, accepted.
        upstream: The server's.
        limit: Of a client's message, in characters; a larger one closes both.
        gone: What the client is told if the server vanishes without a word.
    """
    to_server = asyncio.create_task(_to_server(websocket, upstream, limit))
    to_client = asyncio.create_task(_to_client(websocket, upstream, gone))
    work = (to_server, to_client)
    try:
        await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        if websocket.client_state is not WebSocketState.DISCONNECTED:
            # What the server sent before it closed is still on its way.
            await asyncio.wait({to_client}, timeout=_FAREWELL_SECONDS)
    finally:
        outcomes = await cancel(*work)
    raise_failure(outcomes)


async def _to_server(websocket: WebSocket, upstream: ClientConnection, limit: int) -> None:
    with contextlib.suppress(ConnectionClosed):
        while (message := await websocket.receive())["type"] == "websocket.receive":
            text = message.get("text")
            if text is not None and len(text) > limit:
                await close(websocket, TOO_BIG, f"at most {limit} characters per event")
                return await upstream.close()
            # What is binary is for the server to refuse; it need not be all there.
            await upstream.send(text if text is not None else message["bytes"][:1])
        await upstream.close(*_sendable(message.get("code"), message.get("reason")))


async def _to_client(websocket: WebSocket, upstream: ClientConnection, gone: str) -> None:
    with contextlib.suppress(WebSocketDisconnect):
        with contextlib.suppress(ConnectionClosed):
            async for message in upstream:
                if isinstance(message, str):
                    await websocket.send_text(message)
        await _say_goodbye(websocket, upstream, gone)


async def _say_goodbye(websocket: WebSocket, upstream: ClientConnection, gone: str) -> None:
    """Close the client's side as the server closed its own."""
    if upstream.close_code in {None, _ABNORMAL}:
        return await close(websocket, _BAD_GATEWAY, gone)
    await close(websocket, *_sendable(upstream.close_code, upstream.close_reason))


def _sendable(code: int | None, reason: str | None) -> tuple[int, str]:
    """A close code as it may be sent: two only tell that there was none."""
    if code in {None, _NO_STATUS, _ABNORMAL}:
        return NORMAL, ""
    return int(code or NORMAL), reason or ""
