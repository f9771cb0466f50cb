"""A transceiver as it drains: what it says, whom it refuses, and when it is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from e2e.waiting import until
from firsthop.backends.echo import EchoBackend
from firsthop.config import Settings, TransceiverSettings
from firsthop.telemetry.metrics import Metrics
from firsthop.transceiver.service import TransceiverService
from signaling.edge import CALLS, client_of, refusal

OFFER = (Path(__file__).parent.parent / "offer.sdp").read_text()
SDP = {"Content-Type": "application/sdp"}
SETTINGS = Settings(
    keys={0: "ab" * 32},
    transceiver=TransceiverSettings(
        listen="127.0.0.1:0", loopback=False, drain_seconds=600, handover_seconds=30
    ),
)


@pytest.fixture
async def service() -> AsyncIterator[TransceiverService]:
    service = TransceiverService(SETTINGS, Metrics(), EchoBackend())
    service.start()
    yield service
    await service.stop()


def in_seconds(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_a_transceiver_that_drains_refuses_new_calls_and_serves_those_it_has(
    service: TransceiverService,
) -> None:
    client = client_of(service)
    assert (await client.get("/readyz")).json() == {"ready": True}
    placed = await client.post(CALLS, content=OFFER, headers=SDP)
    assert placed.status_code == 201
    assert not service.beat().draining

    service.drain(in_seconds(600))
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()) == (503, {"ready": False, "reason": "draining"})
    assert (await client.get("/healthz")).status_code == 200
    assert service.beat().draining
    for path in (CALLS, "/whip"):
        refused = await client.post(path, content=OFFER, headers=SDP)
        assert refusal(refused, 503)["code"] == "draining"
        assert refused.headers["retry-after"] == "1"
    assert service.under_way == 1

    drained = asyncio.create_task(service.drained())
    await asyncio.sleep(0)
    assert not drained.done()
    hung_up = await client.post(f"{placed.headers['location']}/hangup")
    assert hung_up.status_code == 200
    await drained
    assert service.under_way == 0


async def test_calls_are_asked_to_move_on_in_time(
    service: TransceiverService, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    monkeypatch.setattr(service.calls, "move_on", asked.append)
    deadline = in_seconds(30)
    service.drain(deadline)
    assert service._moving_on is not None
    assert service._moving_on.when() == deadline - 30
    await until(lambda: asked, "they are asked")
    assert asked == [deadline]
