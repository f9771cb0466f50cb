"""`firsthop agent`, with a line on standard output for each turn: ``python -m ...voice.agent``."""

from __future__ import annotations

import asyncio
import json
import os

import uvicorn

from firsthop.agent.load import load as load_agent
from firsthop.agent.service import AgentService
from firsthop.agent.times import TurnTimes
from firsthop.config import load
from firsthop.telemetry import logs
from firsthop.telemetry.metrics import Metrics
from firsthop.webserver import http_config


def _tell(times: TurnTimes) -> None:
    print(json.dumps({"decided": times.decided, **times.reached}), flush=True)


async def _serve() -> None:
    settings = load((), os.environ)
    logs.configure("json")
    metrics = Metrics()
    service = AgentService(settings, metrics, load_agent(settings.agent, metrics, _tell))
    await service.prepare()
    try:
        config = http_config(service.app())
        host, _, port = settings.agent.listen.rpartition(":")
        config.host, config.port = host, int(port)
        await uvicorn.Server(config).serve()
    finally:
        await service.stop()


if __name__ == "__main__":
    asyncio.run(_serve())
