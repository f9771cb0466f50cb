"""Five hundred turns with endpoints and tools that go wrong in every way: nothing is left over."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection

from firsthop import tool
from firsthop.agent.load import load
from firsthop.agent.service import AgentService
from firsthop.agent.tools.base import ToolContext
from firsthop.bench.endpoints import Endpoints, Fault, Reply, Script, Stage, serving
from firsthop.config import (
    AgentSettings,
    ChatSettings,
    Settings,
    SpeechSettings,
    TranscriptionSettings,
)
from firsthop.telemetry.metrics import Metrics
from firsthop.webserver import http_config
from signaling.edge import served

CALLS, TURNS = 10, 50
SOUND = base64.b64encode(bytes(24_000 * 2 * 200 // 1000)).decode()
#: What goes wrong, at which endpoint; nothing, as often as not.
FAULTS: tuple[tuple[Stage, Fault], ...] = tuple(
    (stage, fault)
    for stage in ("transcription", "chat", "speech")
    for fault in (
        Fault("close"),
        Fault("reset"),
        Fault("hang"),
        Fault("status", status=503),
        Fault("html"),
        Fault("garbage"),
        Fault("stop"),
        Fault("stall"),
    )
)


@tool
async def good(context: ToolContext, word: str) -> str:
    """Do as one should."""
    return word


@tool
async def broken(context: ToolContext) -> str:
    """Fail."""
    raise ValueError("broken")


@tool
async def slow(context: ToolContext) -> str:
    """Never end."""
    await asyncio.Event().wait()
    return ""


@tool
async def verbose(context: ToolContext) -> str:
    """Say too much."""
    return "word " * 100_000


REPLIES = (
    Reply("All is well. I hope that you are well, too."),
    Reply("One moment.", tools=(("good", '{"word": "yes"}'),)),
    Reply(tools=(("broken", "{}"), ("slow", "{}"), ("verbose", "{}"), ("no_such_tool", "{}"))),
    Reply(tools=(("good", "this is no JSON"),)),
)


def reply(chance: random.Random, body: Mapping[str, Any]) -> Reply:
    """Answer: after tools were used, in words."""
    used = body["messages"][-1]["role"] == "tool"
    return REPLIES[0] if used else chance.choice(REPLIES)


@asynccontextmanager
async def agent(endpoints: Endpoints) -> AsyncIterator[tuple[AgentService, str]]:
    """Serve an agent whose stages are the endpoints."""
    patience = {"url": endpoints.url, "timeout_seconds": 0.1}
    settings = AgentSettings(
        transcription=TranscriptionSettings(**patience),
        chat=ChatSettings(**patience),
        speech=SpeechSettings(**patience),
        tools=(__name__,),
        tool_timeout_seconds=0.05,
    )
    metrics = Metrics()
    service = AgentService(Settings(agent=settings), metrics, load(settings, metrics))
    await service.prepare()
    try:
        async with served(http_config(service.app())) as address:
            yield service, f"ws://{address}/v1/realtime?model=any"
    finally:
        await service.stop()


class Caller:
    """A client that takes turns."""

    def __init__(self, socket: ClientConnection, outcomes: Counter[str]) -> None:
        self._socket = socket
        self._outcomes = outcomes

    async def begin(self) -> None:
        """Speak by push-to-talk."""
        detection = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        await self._send(type="session.update", session=detection)

    async def turn(self, *, impatient: bool) -> None:
        """Say something and wait for the answer; who is impatient cancels it."""
        await self._send(type="input_audio_buffer.append", audio=SOUND)
        await self._send(type="input_audio_buffer.commit")
        await self._send(type="response.create")
        await self._until("response.created")
        if impatient:
            await self._send(type="response.cancel")
        response = await self._until("response.done")
        self._outcomes[response["response"]["status"]] += 1

    async def _send(self, **event: object) -> None:
        await self._socket.send(json.dumps(event))

    async def _until(self, kind: str) -> dict[str, Any]:
        while True:
            event: dict[str, Any] = json.loads(await self._socket.recv())
            if event["type"] == kind:
                return event


async def test_five_hundred_turns_leave_nothing_behind() -> None:
    chance = random.Random(5)
    outcomes: Counter[str] = Counter()
    script = Script(reply=lambda body: reply(chance, body))
    tasks = len(asyncio.all_tasks())
    memory: list[int] = []
    async with serving(script) as endpoints, agent(endpoints) as (service, url):
        for _ in range(CALLS):
            async with websockets.connect(url) as socket:
                caller = Caller(socket, outcomes)
                await caller.begin()
                for _ in range(TURNS):
                    if chance.random() < 0.4:
                        stage, fault = chance.choice(FAULTS)
                        endpoints.fail(stage, fault, times=1)
                    await caller.turn(impatient=chance.random() < 0.1)
                    for stage in ("transcription", "chat", "speech"):
                        endpoints.mend(stage)
            await until_over(service)
            await endpoints.until(lambda: endpoints.open == 0)
            gc.collect()
            memory.append(resident_kib())
        assert endpoints.connections <= 12, "each stage keeps a few open, for the next turn"
    assert outcomes.total() == CALLS * TURNS
    assert min(outcomes[status] for status in ("completed", "failed", "cancelled")) > 5, outcomes
    assert len(asyncio.all_tasks()) == tasks
    # What is allocated once is there after the first calls; a leak grows with each.
    assert memory[-1] - memory[2] < 8 * 1024, memory


async def until_over(service: AgentService) -> None:
    """Wait until no call is left."""
    async with asyncio.timeout(10):
        while len(service.calls):  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.005)


def resident_kib() -> int:
    """Memory of this process, in KiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024
