"""The WebSocket to a Realtime server: opened, read, and closed for a reason that has a name."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Final

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from firsthop.backends import failure
from firsthop.backends.realtime.dialects import Dialect
from firsthop.backends.websocket import ConnectionFailed, open_socket
from firsthop.config import RealtimeSettings
from firsthop.values import CONTINUED

#: The largest message that is taken, in bytes: minutes of sound in one event.
_MAX_MESSAGE: Final = 16 * 1024 * 1024


class Connection:
    """An open connection."""

    def __init__(self, socket: ClientConnection, api_key: str | None) -> None:
        self._socket = socket
        self._api_key = api_key
        self._greeted = False

    @classmethod
    async def open(
        cls,
        settings: RealtimeSettings,
        dialect: Dialect,
        model: str | None,
        *,
        continued: bool = False,
    ) -> Connection:
        """Connect.

        Args:
            settings: Where to, and with what.
            dialect: What the server speaks.
            model: Whom to ask for; None: the server chooses.
            continued: Whether there is a conversation already, which the server will be told: an
                agent service does not greet the caller again.

        Raises:
            ConnectionFailed: It did not work.
        """
        assert settings.url is not None, "checked when the backend was made"
        more = {CONTINUED: "1"} if continued else {}
        socket = await open_socket(
            dialect.url(settings.url, model),
            headers={**dialect.headers(settings.api_key), **more},
            connect_timeout_seconds=settings.connect_timeout_seconds,
            silence_timeout_seconds=settings.silence_timeout_seconds,
            max_bytes=_MAX_MESSAGE,
        )
        return cls(socket, settings.api_key)

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
