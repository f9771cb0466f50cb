"""A part that is asked to end: what it does first, and how long."""

from __future__ import annotations

import asyncio

import httpx
import pytest
import structlog
from fastapi import FastAPI

from e2e.waiting import until
from firsthop import draining as module
from firsthop.draining import ClosesConnections, Draining
from firsthop.telemetry.metrics import Metrics


class Part:
    """Is idle when the test says so."""

    def __init__(self) -> None:
        self.deadline: float | None = None
        self.idle = asyncio.Event()
        self.under_way = 3

    def drain(self, deadline: float) -> None:
        self.deadline = deadline

    async def drained(self) -> None:
        await self.idle.wait()
        self.under_way = 0


async def test_it_is_over_when_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HEARD_SECONDS", 0)
    part, metrics = Part(), Metrics()
    draining = Draining("transceiver", part, 600, metrics)
    assert draining.wanted
    assert b"firsthop_draining 0.0" in metrics.render()
    with structlog.testing.capture_logs() as logged:
        began = asyncio.get_running_loop().time()
        run = asyncio.create_task(draining.run())
        await asyncio.sleep(0)
        assert (draining.begun, draining.wanted) == (True, False)
        assert b"firsthop_draining 1.0" in metrics.render()
        assert part.deadline is not None
        assert part.deadline >= began + 600
        part.idle.set()
        await run
    assert [(line["event"], line["part"]) for line in logged] == [
        ("drain.begun", "transceiver"),
        ("drain.ended", "transceiver"),
    ]
    assert logged[0]["under_way"] == 3
    assert logged[1]["left"] == 0


async def test_it_is_over_at_the_deadline_whatever_is_left() -> None:
    with structlog.testing.capture_logs() as logged:
        await Draining("relay", Part(), 0.01, Metrics()).run()
    assert logged[-1]["left"] == 3


async def test_it_is_not_over_before_others_have_heard_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_HEARD_SECONDS", 600)
    part = Part()
    part.idle.set()
    run = asyncio.create_task(Draining("agent", part, 1000, Metrics()).run())
    await until(lambda: not part.under_way, "nothing is left")
    assert not run.done()
    run.cancel()
    await asyncio.wait({run})


async def test_a_part_without_time_is_not_drained() -> None:
    assert not Draining("agent", Part(), 0, Metrics()).wanted


async def test_connections_are_closed_after_their_answer_while_a_part_drains() -> None:
    draining = Draining("gateway", Part(), 600, Metrics())
    app = FastAPI()
    app.add_middleware(ClosesConnections, draining=draining)

    @app.get("/")
    async def root() -> str:
        return "here"

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://a.example") as client:
        assert "connection" not in (await client.get("/")).headers
        run = asyncio.create_task(draining.run())
        await asyncio.sleep(0)
        for path in ("/", "/nowhere"):
            assert (await client.get(path)).headers["connection"] == "close"
        run.cancel()
        await asyncio.wait({run})
