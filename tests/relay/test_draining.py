"""A relay as it drains: it forwards on, and ends once nobody sends any more."""

from __future__ import annotations

import asyncio

import pytest

from firsthop.relay import service as module
from firsthop.relay.service import RelayService
from firsthop.telemetry.metrics import Metrics
from relay.test_service import get, settings


async def test_a_relay_that_drains_is_not_ready_and_is_over_once_nothing_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_SILENCE_SECONDS", 0.1)
    monkeypatch.setattr(module, "_LOOK_EVERY", 0.01)
    relay = RelayService(settings(), Metrics())
    relay.start()
    forwarded = 0

    def counted() -> int | None:
        nonlocal forwarded
        # A packet at each of the first looks, and a relay that hands over: neither is silence.
        forwarded += forwarded < 3
        return None if forwarded == 2 else forwarded

    monkeypatch.setattr(relay, "_forwarded", counted)
    try:
        assert not relay.beat().draining
        relay.drain(asyncio.get_running_loop().time() + 600)
        ready = await get(relay, "/readyz")
        assert (ready.status_code, ready.json()["reason"]) == (503, "draining")
        assert relay.beat().draining
        await relay.drained()
        assert forwarded == 3
        assert relay.under_way == 0
    finally:
        await relay.stop()


async def test_a_relay_counts_what_it_forwards_while_it_runs() -> None:
    relay = RelayService(settings(), Metrics())
    assert relay._forwarded() is None
    relay.start()
    assert relay._forwarded() == 0
    await relay.stop()
