"""The endpoints on a port: HTTP/1.1, faults, and counts of what is open.

Below is h11 and not a web framework, because the faults are those that a framework prevents.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from typing import Any, Final

import h11

from firsthop.bench.endpoints import performance
from firsthop.bench.endpoints.connection import BrokenError, Connection, Request
from firsthop.bench.endpoints.performance import Answer
from firsthop.bench.endpoints.plays import RefusedError, play
from firsthop.bench.endpoints.script import STAGES, Fault, Script, Stage
from firsthop.tasks import cancel

_ROUTES: Final[dict[str, Stage]] = {
    "/v1/audio/transcriptions": "transcription",
    "/v1/chat/completions": "chat",
    "/v1/audio/speech": "speech",
}
#: Answers and requests that are remembered.
_ANSWERS: Final = 10_000
_ASKED: Final = 20


class Endpoints:
    """Three endpoints on one port of this machine.

    Args:
        script: What they answer; may be replaced at any time.
        host: Where to listen.
        port: 0: any that is free.
    """

    def __init__(
        self, script: Script | None = None, *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.script = script or Script()
        self.open = 0
        """Requests in flight."""
        self.left = 0
        """Clients that went away before their answer's end."""
        self.answers: deque[Answer] = deque(maxlen=_ANSWERS)
        """What became of the last requests."""
        self.asked: dict[Stage, deque[Any]] = {stage: deque(maxlen=_ASKED) for stage in STAGES}
        """The last requests of each stage: bodies of JSON, or `Heard`."""
        self.headers: deque[Mapping[str, str]] = deque(maxlen=_ASKED)
        """Of the last requests, those to other paths too."""
        self.paths: deque[str] = deque(maxlen=_ASKED)
        """Of the last requests, with the query."""
        self.connected = 0
        """TCP connections that were opened so far."""
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._faults: dict[Stage, tuple[Fault, int | None]] = {}
        self._counts = dict.fromkeys(STAGES, 0)
        self._changed = asyncio.Event()

    @property
    def origin(self) -> str:
        """Where the server is."""
        return f"http://{self._host}:{self._port}"

    @property
    def url(self) -> str:
        """What settings name."""
        return f"{self.origin}/v1"

    @property
    def connections(self) -> int:
        """TCP connections that are open."""
        return len(self._connections)

    async def start(self) -> None:
        """Listen; after `stop` at the same port."""
        self._server = await asyncio.start_server(self._accept, self._host, self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the port and all connections."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await cancel(*self._connections)

    def fail(self, stage: Stage, fault: Fault, *, times: int | None = None) -> None:
        """Let a stage's next requests go wrong, so many or until `mend`."""
        self._faults[stage] = (fault, times)

    def mend(self, stage: Stage) -> None:
        """Let it work again."""
        self._faults.pop(stage, None)

    def begin_anew(self, seed: int) -> None:
        """Draw delays by another seed, as if nothing had been asked so far."""
        self.script = replace(self.script, seed=seed)
        self._counts = dict.fromkeys(STAGES, 0)
        self.answers.clear()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so. It is looked at after each change here."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self.connected += 1
        self._changed.set()
        try:
            # A cancelled handler is no error that asyncio should report: `stop` did it.
            with contextlib.suppress(ConnectionError, h11.RemoteProtocolError, BrokenError):
                await self._converse(Connection(reader, writer))
        except asyncio.CancelledError:
            pass
        finally:
            writer.transport.abort()
            self._connections.discard(task)
            self._changed.set()

    async def _converse(self, connection: Connection) -> None:
        while (request := await connection.request()) is not None:
            self.headers.append(request.headers)
            self.paths.append(request.path)
            stage = _ROUTES.get(request.path.partition("?")[0])
            if stage is None:
                await self._other(connection, request)
            else:
                await self._answer(connection, stage, request)
            if not connection.next():
                return

    async def _other(self, connection: Connection, request: Request) -> None:
        if request.path == "/v1/models":
            listed = {"object": "list", "data": [{"id": "scripted", "object": "model"}]}
            await connection.whole(200, json.dumps(listed).encode())
        elif request.path == "/delays":
            known = [asdict(answer) for answer in self.answers]
            await connection.whole(200, json.dumps(known).encode())
        elif (seed := request.path.removeprefix("/seeds/")).isdecimal():
            self.begin_anew(int(seed))
            await connection.whole(200, b"{}")
        else:
            await connection.whole(404, _error("no such path"))

    async def _answer(self, connection: Connection, stage: Stage, request: Request) -> None:
        answer = Answer(stage, self._counts[stage], time.monotonic())
        self._counts[stage] += 1
        self.answers.append(answer)
        self.open += 1
        self._changed.set()
        playing = asyncio.create_task(self._play(connection, answer, request))
        gone = asyncio.create_task(connection.gone())
        try:
            await asyncio.wait({playing, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not playing.done():
                raise ConnectionResetError
            await playing
        except ConnectionError:
            answer.outcome = "left"
            self.left += 1
            raise
        finally:
            await cancel(playing, gone)
            self.open -= 1
            self._changed.set()

    async def _play(self, connection: Connection, answer: Answer, request: Request) -> None:
        fault = self._fault(answer.stage)
        try:
            self._check(request)
            content_type = request.headers.get("content-type", "")
            played = play(answer.stage, self.script, answer.number, content_type, request.body)
        except RefusedError as error:
            answer.outcome = "refused"
            return await connection.whole(error.status, _error(str(error)))
        self.asked[answer.stage].append(played.asked)
        if answer.stage == "speech":
            answer.text = played.asked["input"]
        self._changed.set()
        if fault is None:
            await performance.send(connection, answer, played, self._changed.set)
            answer.outcome = "done"
        else:
            answer.outcome = "fault"
            await performance.go_wrong(connection, answer, played, fault, self._changed.set)

    def _check(self, request: Request) -> None:
        if request.method != "POST":
            raise RefusedError(405, "expected POST")
        key = self.script.api_key
        if key is not None and request.headers.get("authorization") != f"Bearer {key}":
            raise RefusedError(401, "expected another key")

    def _fault(self, stage: Stage) -> Fault | None:
        fault, left = self._faults.get(stage, (None, None))
        if left is not None and fault is not None:
            if left > 1:
                self._faults[stage] = (fault, left - 1)
            else:
                self._faults.pop(stage)
        return fault


@asynccontextmanager
async def serving(script: Script | None = None, *, port: int = 0) -> AsyncIterator[Endpoints]:
    """Serve the endpoints in this event loop for as long as the block takes."""
    endpoints = Endpoints(script, port=port)
    await endpoints.start()
    try:
        yield endpoints
    finally:
        await endpoints.stop()


def _error(message: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": "invalid_request_error"}}).encode()
