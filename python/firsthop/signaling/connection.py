"""uvicorn's WebSocket connections, bounded where they are not, and with errors of our form."""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame
from websockets.http11 import Response
from websockets.server import ServerProtocol

from firsthop.errors import SignalingError
from firsthop.signaling.http import error_body

#: In how many frames a message may come: each takes memory, even when it is empty.
_MAX_FRAMES: Final = 4096
#: How long a peer that takes nothing more may hold a connection that is closed.
_CUT_SECONDS: Final = 1.0


class _Handshake(ServerProtocol):
    """Refuses a request that is no handshake as signaling refuses all others."""

    def reject(self, status: HTTPStatus | int, text: str) -> Response:
        response = super().reject(status, text)
        code = "invalid_handshake" if response.status_code < 500 else "internal_error"
        message = text.strip() or response.reason_phrase
        error = SignalingError(message, status=response.status_code, code=code)
        response.body = json.dumps(error_body(error)).encode()
        for name in ("Content-Type", "Content-Length"):
            del response.headers[name]
        response.headers["Content-Type"] = "application/json"
        response.headers["Content-Length"] = str(len(response.body))
        return response


class WebSocketConnection(WebSocketsSansIOProtocol):
    """One connection. A peer that sends nonsense, or reads nothing, ends its own and no more."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Without compression: most of what is sent is sound, and one core serves many calls.
        self.conn = _Handshake(
            max_size=self.config.ws_max_size, logger=logging.getLogger("uvicorn.error")
        )

    def data_received(self, data: bytes) -> None:
        """Take bytes, the whole of the request's head first."""
        super().data_received(data)
        if not self.handshake_initiated and not self.transport.is_closing():
            # The head was too large for it, or no handshake: the answer is waiting.
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def handle_cont(self, event: Frame) -> None:
        """Take a message's next part."""
        if len(self.frames) >= _MAX_FRAMES:
            return self._fail(CloseCode.MESSAGE_TOO_BIG, f"at most {_MAX_FRAMES} frames a message")
        super().handle_cont(event)

    def handle_ping(self) -> None:
        """Answer, unless the peer does not read: answers would pile up."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()

    def send_receive_event_to_app(self) -> None:
        """Hand over a message, if it is what it says."""
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                return self._fail(CloseCode.INVALID_DATA, "a text message is not UTF-8")
        super().send_receive_event_to_app()

    def keepalive_timeout(self) -> None:
        """Give up on a peer that does not answer: it will not take the farewell either."""
        super().keepalive_timeout()
        self._cut_soon()

    async def run_asgi(self) -> None:
        """Run the application; what it has sent is not waited for long."""
        await super().run_asgi()
        self._cut_soon()

    def _fail(self, code: CloseCode, reason: str) -> None:
        self.frames = []
        self.conn.fail(code, reason)
        self.handle_parser_exception()

    def _cut_soon(self) -> None:
        wait = self.close_timeout if self.close_timer is not None else 0
        self.loop.call_later(wait + _CUT_SECONDS, self.transport.abort)
