"""The WebSocket to a bot: opened, read, and closed for a reason that has a name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from firsthop.backends import failure
from firsthop.backends.pipecat.frames import Frame, FrameError, decode
from firsthop.backends.websocket import ConnectionFailed, open_socket
from firsthop.config import PipecatSettings

#: The largest message that is taken, in bytes: 20 s of sound in one frame.
_MAX_MESSAGE: Final = 1024 * 1024
#: How long the bot may leave a ping unanswered.
_SILENCE_SECONDS: Final = 10.0
#: How a bot closes that has come to its end (RFC 6455 §7.4.1).
_NORMAL: Final = 1000


class Connection:
    """An open connection.

    Attributes:
        greeted: Whether the bot has sent anything.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.greeted = False

    @classmethod
    async def open(
        cls, settings: PipecatSettings, call_id: str, timeout_seconds: float
    ) -> Connection:
        """Connect.

        Args:
            settings: Where the bot is.
            call_id: The bot is told which call it is.
            timeout_seconds: How long that may take.

        Raises:
            ConnectionFailed: It did not work.
        """
        headers = {"X-Firsthop-Call": call_id}
        if settings.api_key is not None:
            headers["Authorization"] = f"Bearer {settings.api_key}"
        socket = await open_socket(
            settings.url,
            headers=headers,
            connect_timeout_seconds=timeout_seconds,
            silence_timeout_seconds=_SILENCE_SECONDS,
            max_bytes=_MAX_MESSAGE,
        )
        return cls(socket)

    async def send(self, message: bytes) -> None:
        """Send one message.

        Raises:
            ConnectionFailed: The connection is over.
        """
        try:
            await self._socket.send(message)
        except ConnectionClosed as error:
            raise self._ended(error) from None

    async def frames(self) -> AsyncIterator[Frame | None]:
        """Yield what comes until the bot hangs up; None for what is no frame.

        Raises:
            ConnectionFailed: The connection ended in another way.
        """
        while True:
            try:
                message = await self._socket.recv()
            except ConnectionClosed as error:
                if error.rcvd is not None and error.rcvd.code == _NORMAL:
                    return
                raise self._ended(error) from None
            try:
                frame = decode(message) if isinstance(message, bytes) else None
            except FrameError:
                frame = None
            self.greeted = self.greeted or frame is not None
            yield frame

    async def close(self) -> None:
        """Say goodbye."""
        await self._socket.close()

    def _ended(self, error: ConnectionClosed) -> ConnectionFailed:
        return ConnectionFailed(failure.while_open(error, greeted=self.greeted))
