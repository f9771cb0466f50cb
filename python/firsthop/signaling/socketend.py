"""A WebSocket as an end of a call: events out through a bounded queue, events in one by one."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Final

from fastapi import WebSocket, WebSocketDisconnect
from starlette.websockets import WebSocketState

from firsthop.errors import EventError
from firsthop.realtime.events import as_json, error_event, new_id
from firsthop.tasks import cancel, raise_failure
from firsthop.telemetry.metrics import Metrics

#: The largest message of a sideband, in characters.
MAX_SIDEBAND_MESSAGE: Final = 256 * 1024
#: The largest of a client that sends its audio this way: 15 MiB of it, and an event around that.
MAX_AUDIO_MESSAGE: Final = 16 * 1024 * 1024
#: What may wait for a client to take it, in characters and in events.
_MAX_WAITING: Final = (8 * 1024 * 1024, 4096)
#: The same where sound is sent: an agent may say eight minutes of it in one go.
_MAX_WAITING_AUDIO: Final = (32 * 1024 * 1024, 32_768)
#: So long may a client take to read the farewell; then the connection is cut.
_FAREWELL_SECONDS: Final = 5.0

# Close codes (RFC 6455 §7.4.1 and IANA's registry).
NORMAL: Final = 1000
TOO_BIG: Final = 1009
TRY_AGAIN_LATER: Final = 1013


class SocketEnd:
    """One WebSocket, from its acceptance to its close.

    Args:
        websocket: Accepted before `serve`; events may be delivered before that.
        wants_audio: Whether the call's sound goes this way.
        metrics: Counts ends that did not keep up.
    """

    def __init__(self, websocket: WebSocket, metrics: Metrics, *, wants_audio: bool) -> None:
        self.wants_audio = wants_audio
        self._websocket = websocket
        self._metrics = metrics
        self._waiting: deque[str] = deque()
        self._waiting_characters = 0
        self._limits = _MAX_WAITING_AUDIO if wants_audio else _MAX_WAITING
        self._news = asyncio.Event()
        self._over = False
        self._failed = asyncio.Event()
        self._farewell = (NORMAL, "the call is over")

    def deliver(self, text: str) -> None:
        """Send one event, as JSON in ASCII. Never blocks: who does not keep up is let go."""
        if self._over or self._failed.is_set():
            return
        self._waiting.append(text)
        self._waiting_characters += len(text)
        characters, events = self._limits
        if self._waiting_characters > characters or len(self._waiting) > events:
            self._metrics.slow_sockets.inc()
            self._fail(TRY_AGAIN_LATER, "events were not read fast enough")
        self._news.set()

    def close(self) -> None:
        """The call is over: say what waits, then goodbye."""
        self._over = True
        self._news.set()

    async def serve(self, receive: Callable[[str], None]) -> None:
        """Exchange events until the call is over or the client has gone.

        Args:
            receive: Takes each event of the client.
        """
        work = [
            asyncio.create_task(self._read(receive)),
            asyncio.create_task(self._write()),
            asyncio.create_task(self._failed.wait()),
        ]
        try:
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        finally:
            outcomes = await cancel(*work)
        await close(self._websocket, *self._farewell)
        raise_failure(outcomes)

    async def _read(self, receive: Callable[[str], None]) -> None:
        limit = MAX_AUDIO_MESSAGE if self.wants_audio else MAX_SIDEBAND_MESSAGE
        while (message := await self._websocket.receive())["type"] == "websocket.receive":
            text = message.get("text")
            if text is None:
                self._refuse_binary()
            elif len(text) > limit:
                return self._fail(TOO_BIG, f"at most {limit} characters per event")
            else:
                receive(text)

    async def _write(self) -> None:
        with contextlib.suppress(WebSocketDisconnect):
            while self._waiting or not self._over:
                self._news.clear()
                while self._waiting:
                    text = self._waiting.popleft()
                    self._waiting_characters -= len(text)
                    await self._websocket.send_text(text)
                if not self._over:
                    await self._news.wait()

    def _refuse_binary(self) -> None:
        error = EventError("invalid_event", "expected text messages, one JSON object in each")
        self.deliver(as_json({"event_id": new_id("event"), **error_event(error)}))

    def _fail(self, code: int, reason: str) -> None:
        self._farewell = (code, reason)
        self._waiting.clear()
        self._failed.set()


async def close(websocket: WebSocket, code: int, reason: str) -> None:
    """Close a WebSocket, if that has not happened; one that reads nothing is not waited for."""
    if websocket.client_state is WebSocketState.DISCONNECTED:
        return
    with contextlib.suppress(TimeoutError, RuntimeError, WebSocketDisconnect):
        async with asyncio.timeout(_FAREWELL_SECONDS):
            await websocket.close(code, reason)
