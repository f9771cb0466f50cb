"""One TCP connection of a client: HTTP/1.1 by h11, and what h11 would not do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import h11

_MAX_BODY: Final = 64 * 1024 * 1024
_READ: Final = 65_536


@dataclass(frozen=True)
class Request:
    """A request, read to its end."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class BrokenError(Exception):
    """The connection is not to be used any more."""


class Connection:
    """One TCP connection: HTTP/1.1, one request after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER)

    async def request(self) -> Request | None:
        """Return the next request, or None at the end."""
        head = await self._event()
        if not isinstance(head, h11.Request):
            return None
        body = bytearray()
        while isinstance(event := await self._event(), h11.Data):
            body += event.data
            if len(body) > _MAX_BODY:
                raise BrokenError
        headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
        return Request(head.method.decode(), head.target.decode(), headers, bytes(body))

    def next(self) -> bool:
        """Get ready for the next request; whether there may be one."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    async def gone(self) -> None:
        """Return when the client has closed the connection."""
        with contextlib.suppress(ConnectionError):
            while data := await self._reader.read(_READ):
                self._http.receive_data(data)

    async def head(self, status: int, content_type: str, **headers: str) -> None:
        """Begin an answer whose length is not known."""
        fields = {"content-type": content_type} | headers
        lines = [(name.replace("_", "-"), value) for name, value in fields.items()]
        await self._send(h11.Response(status_code=status, headers=lines))

    async def part(self, data: bytes) -> None:
        """Send the next part of its body."""
        await self._send(h11.Data(data=data))

    async def end(self) -> None:
        """End it."""
        await self._send(h11.EndOfMessage())

    async def whole(
        self, status: int, body: bytes, content_type: str = "application/json", **headers: str
    ) -> None:
        """Send an answer at once."""
        headers["content_length"] = str(len(body))
        await self.head(status, content_type, **headers)
        await self.part(body)
        await self.end()

    def reset(self) -> None:
        """Close with a RST instead of a FIN."""
        raw: socket.socket = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise BrokenError

    async def _send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            self._writer.write(data)
            await self._writer.drain()

    async def _event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            self._http.receive_data(await self._reader.read(_READ))
        return event
