"""The WebSocket to a Realtime server: opened, read, and closed for a reason that has a name."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from firsthop.backends.realtime import failure
from firsthop.backends.realtime.dialects import Dialect
from firsthop.backends.realtime.failure import Failure
from firsthop.config import RealtimeSettings
from firsthop.errors import BackendError

#: The largest message that is taken, in bytes: minutes of sound in one event.
_MAX_MESSAGE: Final = 16 * 1024 * 1024
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


class Connection:
    """An open connection."""

    def __init__(self, socket: ClientConnection, api_key: str | None) -> None:
        self._socket = socket
        self._api_key = api_key
        self._greeted = False

    @classmethod
    async def open(
        cls, settings: RealtimeSettings, dialect: Dialect, model: str | None
    ) -> Connection:
        """Connect.

        Raises:
            ConnectionFailed: It did not work.
        """
        assert settings.url is not None, "checked when the backend was made"
        connecting = _Connect(
            dialect.url(settings.url, model),
            additional_headers=dialect.headers(settings.api_key),
            user_agent_header="firsthop",
            # Base64 of sound hardly gets smaller, at a price per packet.
            compression=None,
            open_timeout=settings.connect_timeout_seconds,
            ping_interval=settings.silence_timeout_seconds,
            ping_timeout=settings.silence_timeout_seconds,
            close_timeout=_CLOSE_SECONDS,
            max_size=_MAX_MESSAGE,
        )
        try:
            return cls(await connecting, settings.api_key)
        except Exception as error:
            raise ConnectionFailed(failure.while_opening(error)) from None

    async def send(self, text: str) -> None:
        """Send one event.

        Raises:
            ConnectionFailed: The connection is over.
        """
        try:
            await self._socket.send(text)
        except ConnectionClosed as error:
            raise self._ended(error) from None

    async def events(self) -> AsyncIterator[dict[str, Any] | None]:
        """Yield what comes, parsed; None for what is no JSON object.

        Raises:
            ConnectionFailed: The connection is over; it always ends like this.
        """
        while True:
            try:
                message = await self._socket.recv()
            except ConnectionClosed as error:
                raise self._ended(error) from None
            event = self._parsed(message)
            if event is not None and event.get("type") != "error":
                self._greeted = True
            yield event

    async def close(self) -> None:
        """Say goodbye."""
        await self._socket.close()

    def _ended(self, error: ConnectionClosed) -> ConnectionFailed:
        return ConnectionFailed(failure.while_open(error, greeted=self._greeted))

    def _parsed(self, message: str | bytes) -> dict[str, Any] | None:
        if isinstance(message, bytes):
            return None
        if self._api_key is not None and self._api_key in message:
            # Some servers quote the key that they do not like.
            message = message.replace(self._api_key, "***")
        try:
            event = json.loads(message)
        except (ValueError, RecursionError):
            return None
        return event if isinstance(event, dict) else None
