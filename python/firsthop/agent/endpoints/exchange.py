"""One HTTP request and its answer, in a task of its own.

httpcore gives a connection back within several awaits. A cancellation of asyncio's in their midst
leaves it in the pool for good, as httpcore shields itself from anyio's cancel scopes only. So the
task here is ended by such a scope, while whoever asks may be cancelled by any means, as often as it
likes. In the midst of a TLS handshake httpcore forgets a connection without closing it; that is
made up for here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

import anyio
import httpx

#: Parts of a body that are read ahead, of 64 KiB at most; then the server has to wait.
_AHEAD: Final = 8
#: So long a body may take to end whose content is complete, so that its connection is kept.
_REST_SECONDS: Final = 1.0


class Exchange:
    """A request that is sent at once.

    Args:
        client: Sends it.
        request: What to send.
        ended: Called with this when nothing of it is left.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        request: httpx.Request,
        ended: Callable[[Exchange], None],
    ) -> None:
        self._client = client
        self._request = request
        self.wanted = True
        """Whether the body is read for somebody."""
        self._queue: asyncio.Queue[httpx.Response | bytes | Exception | None] = asyncio.Queue(
            _AHEAD
        )
        self._connected: Any = None
        request.extensions = {**request.extensions, "trace": self._trace}
        self._scope = anyio.CancelScope()
        self._task = asyncio.create_task(self._run())
        self._task.add_done_callback(lambda _: ended(self))

    async def head(self) -> httpx.Response:
        """Wait for the answer's status and headers; called once, and first.

        Raises:
            Exception: Whatever httpx and what is below it raises.
        """
        item = await self._queue.get()
        if isinstance(item, Exception):
            raise item
        assert isinstance(item, httpx.Response)
        return item

    async def part(self) -> bytes | None:
        """Wait for the next part of the body; None: it is complete. Not called after that.

        Raises:
            Exception: Whatever httpx and what is below it raises.
        """
        item = await self._queue.get()
        if isinstance(item, Exception):
            raise item
        assert not isinstance(item, httpx.Response)
        return item

    def spare(self) -> None:
        """Need no more of the body, though its end may be on its way: the connection is kept."""
        self.wanted = False
        while not self._queue.empty():
            self._queue.get_nowait()
        asyncio.get_running_loop().call_later(_REST_SECONDS, self._scope.cancel)

    async def close(self) -> None:
        """End it, and wait until it has let go of its connection."""
        self._scope.cancel()
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        with self._scope:
            try:
                await self._read()
            except Exception as error:  # Not all that httpx lets through is its own.
                await self._put(error)

    async def _read(self) -> None:
        response = await self._response()
        try:
            await self._put(response)
            async for part in response.aiter_raw():
                await self._put(part)
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()
        await self._put(None)

    async def _response(self) -> httpx.Response:
        try:
            return await self._client.send(self._request, stream=True)
        except BaseException:
            if self._connected is not None:
                with anyio.CancelScope(shield=True):
                    await self._connected.aclose()
            raise

    async def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        """See what httpcore does."""
        if event == "connection.connect_tcp.complete":
            self._connected = info["return_value"]

    async def _put(self, item: httpx.Response | bytes | Exception | None) -> None:
        if self.wanted:
            await self._queue.put(item)
