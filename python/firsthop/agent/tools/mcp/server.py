"""One session with a server of tools, for all calls of the service.

A task of its own enters the session and leaves it, as the `mcp` package wants it, and begins
another one when it is lost. Calls use the session from their own tasks; when it ends, those that
wait learn so at once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import structlog
from mcp.client import Client, IncomingMessage
from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost
from mcp.shared.exceptions import MCPError
from mcp.types import CONNECTION_CLOSED, Implementation, ToolListChangedNotification
from mcp.types import Tool as Listed

from firsthop.agent.tools.base import ToolError, where
from firsthop.agent.tools.mcp.process import process
from firsthop.agent.tools.mcp.results import worded
from firsthop.agent.tools.mcp.web import web
from firsthop.config import McpServerSettings
from firsthop.tasks import cancel

#: Tools that a server may have; what it lists beyond is left out.
MAX_TOOLS: Final = 128
_MAX_PAGES = 20
#: How long a connection may take to open, until the tools are known. Programs may have to be
#: downloaded by what starts them.
_CONNECT_SECONDS = 30.0
#: How long the service waits for it before it serves calls without.
_PATIENCE_SECONDS = 5.0
_LIST_SECONDS = 10.0
#: How long taking leave may take before it is insisted on.
_GOODBYE_SECONDS = 5.0
#: The shortest time between two looks at a list that changes.
_CHANGE_SECONDS = 0.1
_FIRST_RETRY_SECONDS = 0.2
_LAST_RETRY_SECONDS = 30.0
#: After how long a connection counts as a good one.
_PROVED_SECONDS = 10.0
_CLIENT = Implementation(name="firsthop", version="1")

log = structlog.get_logger()


class _Link:
    """What becomes of one connection."""

    def __init__(self) -> None:
        self.problem: str | None = None
        self.status: int | None = None
        self.stale = False
        self.connected = False
        self._news = asyncio.Event()

    def lost(self, problem: str) -> None:
        """No message comes any more."""
        self.problem = self.problem or problem
        self._news.set()

    def refused(self, status: int) -> None:
        """An answer by HTTP is an error."""
        self.status = status

    def changed(self) -> None:
        """Its tools are others now."""
        self.stale = True
        self._news.set()

    async def received(self, message: IncomingMessage) -> None:
        """Take a message that nobody waits for."""
        if isinstance(message, ToolListChangedNotification):
            self.changed()

    async def news(self) -> None:
        """Wait until it is lost, or its tools have changed."""
        await self._news.wait()
        self._news.clear()


class McpServer:
    """A server of tools.

    Args:
        label: Its name in the settings.
        settings: Where it is, or how it is started.
        changed: Told when its tools have changed.
    """

    def __init__(
        self, label: str, settings: McpServerSettings, changed: Callable[[], None]
    ) -> None:
        self.label = label
        self.tools: list[Listed] = []
        """What it has, as far as is known: they stay while it is away."""
        self._settings = settings
        self._changed = changed
        self._client: Client | None = None
        self._owner: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        self._closing = False

    async def prepare(self) -> None:
        """Connect, if that does not take long; else it goes on in the background."""
        self._owner = asyncio.create_task(self._stay_connected())
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._tried.wait()
        except TimeoutError:
            log.warning("mcp.slow", server=self.label, seconds=_PATIENCE_SECONDS)

    async def close(self) -> None:
        """Take leave; a process of ours is ended."""
        self._closing = True
        owner, self._owner = self._owner, None
        while owner is not None and not owner.done():
            # A session that is about to end anyway may swallow this.
            owner.cancel()
            await asyncio.wait({owner}, timeout=_GOODBYE_SECONDS)

    async def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Call one of its tools, by its own name. If this is cancelled, the server is told.

        Raises:
            ToolError: It did not work, or the server is not there.
        """
        client = self._client
        if client is None:
            raise ToolError(f"{self.label}, where this tool is, cannot be reached; try later")
        try:
            result = await client.call_tool(name, dict(arguments))
        except MCPError as error:
            if error.code == CONNECTION_CLOSED:
                raise ToolError(f"{self.label}, where this tool is, went away; try later") from None
            raise ToolError(error.message) from None
        except Exception as error:
            log.error(
                "mcp.garbage", server=self.label, error=type(error).__name__, where=where(error)
            )
            raise ToolError(f"the answer of {self.label} makes no sense") from None
        if result.is_error:
            raise ToolError(worded(result))
        return worded(result)

    async def _stay_connected(self) -> None:
        loop = asyncio.get_running_loop()
        failures, told = 0, None
        while not self._closing:
            link, began = _Link(), loop.time()
            try:
                await self._connection(link)
            except Exception as error:
                link.lost(self._problem(error, link.status))
            finally:
                self._client = None
            if self._closing:
                return
            self._tried.set()
            failures = 0 if loop.time() - began > _PROVED_SECONDS else failures + 1
            if link.connected or link.problem != told:
                told = link.problem
                event = "mcp.lost" if link.connected else "mcp.unreachable"
                log.warning(event, server=self.label, problem=link.problem)
            delay = min(_FIRST_RETRY_SECONDS * 2 ** min(failures, 10), _LAST_RETRY_SECONDS)
            await asyncio.sleep(delay * random.uniform(0.75, 1))

    async def _connection(self, link: _Link) -> None:
        """Connect, and stay until the connection is lost."""
        listener: asyncio.Task[None] | None = None
        try:
            async with (
                asyncio.timeout(_CONNECT_SECONDS) as limit,
                Client(
                    self._transport(link),
                    client_info=_CLIENT,
                    message_handler=link.received,
                    cache=None,
                ) as client,
            ):
                self._learn(await _list(client))
                limit.reschedule(None)
                self._client, link.connected = client, True
                self._tried.set()
                log.info("mcp.connected", server=self.label, tools=len(self.tools))
                listener = asyncio.create_task(_listen(client, link))
                while link.problem is None:
                    await link.news()
                    if link.stale:
                        link.stale = False
                        await self._look_again(client)
                self._client = None
        finally:
            if listener is not None:
                await cancel(listener)

    def _transport(self, link: _Link) -> AbstractAsyncContextManager[Any]:
        settings = self._settings
        if settings.url is None:
            return process(settings.command, settings.environment, link.lost)
        return web(settings.url, settings.api_key, link.lost, link.refused)

    def _learn(self, tools: list[Listed]) -> None:
        self.tools = tools
        self._changed()

    async def _look_again(self, client: Client) -> None:
        try:
            async with asyncio.timeout(_LIST_SECONDS):
                self._learn(await _list(client))
        except (MCPError, TimeoutError, ValueError) as error:
            log.warning("mcp.not_listed", server=self.label, error=type(error).__name__)
        await asyncio.sleep(_CHANGE_SECONDS)

    def _problem(self, error: BaseException, status: int | None) -> str:
        """Why there is no connection, for our log: nothing of it is secret."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        match error:
            case TimeoutError():
                return f"it takes more than {_CONNECT_SECONDS:g} s to connect"
            case OSError() if self._settings.command:
                return f"{self._settings.command[0]}: {error.strerror}"
            case MCPError() if status is not None:
                return f"it answers {status}"
            case MCPError():
                return f"it refuses: {error.message[:200]}"
            case _:
                return type(error).__name__


async def _list(client: Client) -> list[Listed]:
    """All tools of a server, page by page, as far as they are wanted."""
    tools: list[Listed] = []
    cursor: str | None = None
    for _ in range(_MAX_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        cursor = page.next_cursor
        if cursor is None or len(tools) >= MAX_TOOLS:
            break
    return tools[:MAX_TOOLS]


async def _listen(client: Client, link: _Link) -> None:
    """Hold the stream open by which newer servers tell of changes; older ones tell anyway."""
    delay = _FIRST_RETRY_SECONDS
    while True:
        try:
            async with client.listen(tools_list_changed=True) as changes:
                delay = _FIRST_RETRY_SECONDS
                async for _ in changes:
                    link.changed()
        except (ListenNotSupportedError, MCPError):
            return
        except SubscriptionLost:
            pass
        await asyncio.sleep(delay)
        delay = min(2 * delay, _LAST_RETRY_SECONDS)
        # What changed meanwhile is not told again.
        link.changed()
