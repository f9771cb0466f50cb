"""A WebSocket to a server that answers a call: opened the same way for all that speak by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect

from firsthop.authorities import authorities
from firsthop.backends import failure
from firsthop.backends.failure import Failure
from firsthop.errors import BackendError

_CLOSE_SECONDS: Final = 1.0


class ConnectionFailed(BackendError):
    """There is no connection, or no longer."""

    def __init__(self, why: Failure) -> None:
        super().__init__(why.message)
        self.failure = why


class _Connect(connect):
    """Follows no redirects: they would take the key to where the settings did not send it."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


async def open_socket(
    url: str,
    *,
    headers: Mapping[str, str],
    connect_timeout_seconds: float,
    silence_timeout_seconds: float,
    max_bytes: int,
) -> ClientConnection:
    """Connect.

    Args:
        url: ws:// or wss://.
        headers: More for the handshake.
        connect_timeout_seconds: How long it may take to open.
        silence_timeout_seconds: How long it may leave a ping unanswered.
        max_bytes: The largest message that is taken.

    Raises:
        ConnectionFailed: It did not work.
    """
    connecting = _Connect(
        url,
        additional_headers=headers,
        user_agent_header="firsthop",
        ssl=authorities() if urlsplit(url).scheme == "wss" else None,
        # Sound hardly gets smaller, at a price per packet.
        compression=None,
        open_timeout=connect_timeout_seconds,
        ping_interval=silence_timeout_seconds,
        ping_timeout=silence_timeout_seconds,
        close_timeout=_CLOSE_SECONDS,
        max_size=max_bytes,
    )
    try:
        return await connecting
    except Exception as error:
        raise ConnectionFailed(failure.while_opening(error)) from None
