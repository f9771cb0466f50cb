"""Servers of tools that are reached by HTTP: real ones, and ones that misbehave."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from agent.tools.mcp.offering import offering
from agent.tools.mcp.shops import shop, until, works

Answer = Callable[[Request, dict[str, Any]], Awaitable[Response]]


class Place:
    """An address on loopback, where applications serve in a thread of their own."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._address: tuple[str, int] = listener.getsockname()
        self.url = "http://{}:{}/mcp".format(*self._address)

    @asynccontextmanager
    async def serving(self, app: Any) -> AsyncIterator[None]:
        """Serve; at the end, connections that are open are cut."""
        config = uvicorn.Config(app, log_config=None, ws="none", timeout_graceful_shutdown=0)
        server = uvicorn.Server(config)
        with socket.create_server(self._address) as listener:
            thread = threading.Thread(target=server.run, args=([listener],))
            thread.start()
            try:
                await until(lambda: server.started)
                yield
            finally:
                server.should_exit = True
                await asyncio.to_thread(thread.join)


@pytest.fixture
def place() -> Place:
    """An address."""
    return Place()


async def test_tools_of_a_real_server_are_told_called_and_refreshed(
    place: Place, tmp_path: Path
) -> None:
    async with (
        place.serving(offering(tmp_path).streamable_http_app()),
        shop(url=place.url) as one,
    ):
        assert one.names()[:3] == ["add", "files_read_all", "shop_current_time"]
        assert '"value": 3' in await one.run("add", '{"a": 1, "b": 2}')
        assert await one.run("see") == "a cat:\n[image]"
        assert "fail" in await one.failure("fail")
        assert "more than 4194304 bytes" in await one.failure("flood")

        await one.run("learn")
        await until(lambda: "learned" in one.names())
        assert await one.run("learned") == "noon"

        run = asyncio.create_task(one.run("hang"))
        await until((tmp_path / "hangs").exists)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        await until((tmp_path / "cancelled").exists)
        assert one.problems() == []


async def test_a_server_may_come_late_and_go_and_come_back(place: Place, tmp_path: Path) -> None:
    server = offering(tmp_path)
    async with shop(url=place.url) as one:
        assert one.names() == []
        assert one.problems() == ["ConnectError"]
        assert "there is no tool 'add'" in await one.failure("add")
        assert await one.run("calculate", '{"expression": "1 + 1"}') == "2"

        async with place.serving(server.streamable_http_app()):
            await until(lambda: "add" in one.names())
            waiting = asyncio.create_task(one.failure("hang"))
            await until((tmp_path / "hangs").exists)
        assert "given up" not in await waiting
        assert "add" in one.names()

        async with place.serving(offering(tmp_path).streamable_http_app()):
            assert '"value": 3' in await works(one)


class Older:
    """A server as before 2026: it has sessions, and says no more than is asked of it."""

    def __init__(self) -> None:
        self.keys: set[str | None] = set()
        self.sessions: set[str] = set()
        self.made = 0
        self.ended: list[str] = []
        self.app = FastAPI()
        self.app.add_api_route("/mcp", self.post, methods=["POST"])
        self.app.add_api_route("/mcp", self.delete, methods=["DELETE"])

    async def post(self, request: Request) -> Response:
        """Answer a message."""
        self.keys.add(request.headers.get("authorization"))
        message = await request.json()
        method, session = message["method"], request.headers.get("mcp-session-id")
        if method == "server/discover":
            return JSONResponse({"error": "what?"}, 400)
        if method != "initialize" and session not in self.sessions:
            return JSONResponse({"error": "no such session"}, 404)
        if "id" not in message:
            return Response(status_code=202)
        return self._result(message, session)

    def _result(self, message: dict[str, Any], session: str | None) -> Response:
        headers = {}
        match message["method"]:
            case "initialize":
                self.made += 1
                session = f"session-{self.made}"
                self.sessions.add(session)
                headers = {"mcp-session-id": session}
                result: dict[str, Any] = {
                    "protocolVersion": "2025-06-18",
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "older", "version": "1"},
                }
            case "tools/list":
                result = {"tools": [{"name": "add", "inputSchema": {"type": "object"}}]}
            case _:
                result = {"content": [{"type": "text", "text": f"by {session}"}]}
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": result}
        return JSONResponse(answer, headers=headers)

    async def delete(self, request: Request) -> Response:
        """End a session."""
        self.ended.append(request.headers["mcp-session-id"])
        return Response(status_code=200)


async def test_a_session_that_was_forgotten_is_begun_again(place: Place) -> None:
    server = Older()
    async with (
        place.serving(server.app),
        shop(url=place.url, api_key="swordfish") as one,
    ):
        assert await one.run("add") == "by session-1"
        server.sessions.clear()
        assert await one.failure("add")
        assert await works(one) == "by session-2"
        assert one.problems() == ["it has forgotten our session"]
    assert server.keys == {"Bearer swordfish"}
    assert server.ended[-1] == "session-2"


async def test_a_server_that_does_not_let_go_is_left(place: Place) -> None:
    class Clinging(Older):
        async def delete(self, request: Request) -> Response:
            await asyncio.Event().wait()
            raise AssertionError

    async with place.serving(Clinging().app), shop(url=place.url) as one:
        assert await one.run("add") == "by session-1"


ANSWERS: list[tuple[dict[str, Any], str]] = [
    ({"status_code": 401, "content": "swordfish"}, "it answers 401"),
    ({"status_code": 503, "content": b"<html>"}, "it answers 503"),
    ({"status_code": 200, "content": b"<html>", "media_type": "text/html"}, "it refuses: Unex"),
    ({"status_code": 200, "content": b"{", "media_type": "application/json"}, "it refuses: Fail"),
    ({"status_code": 202}, "it refuses: server answered a request with 202"),
    (
        {"status_code": 200, "content": b"data: {\n\n", "media_type": "text/event-stream"},
        "it refuses: Fail",
    ),
    (
        {"status_code": 200, "content": b"data: x", "media_type": "text/event-stream"},
        "it refuses: SSE stream ended",
    ),
    ({"status_code": 307, "headers": {"location": "http://127.0.0.1:1/"}}, "it refuses: Redirect"),
]


@pytest.mark.parametrize(("answer", "problem"), ANSWERS)
async def test_what_answers_but_is_no_server_of_tools_is_told_of(
    answer: dict[str, Any], problem: str, place: Place
) -> None:
    app = FastAPI()

    @app.post("/mcp")
    async def post() -> Response:
        return Response(**answer)

    async with place.serving(app), shop(url=place.url, api_key="swordfish") as one:
        [told] = one.problems()
        assert told.startswith(problem)
        assert "swordfish" not in json.dumps(one.logs)
        assert one.names() == []
