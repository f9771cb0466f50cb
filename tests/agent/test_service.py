"""An agent service as it drains."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from calls.conversation import EventEnd
from firsthop.agent.service import AgentService
from firsthop.agent.voice import VoiceAgent
from firsthop.backends.base import Traits
from firsthop.call import Call
from firsthop.config import Settings
from firsthop.errors import DrainingError
from firsthop.telemetry.metrics import Metrics


class Listener:
    """Listens until the call ends."""

    traits = Traits()

    async def prepare(self) -> None:
        """Need nothing."""

    async def serve(self, call: Call) -> None:
        """Listen."""
        async for _ in call:
            pass

    async def close(self) -> None:
        """Have nothing to let go of."""


async def test_a_service_that_drains_takes_no_calls_and_is_over_with_its_last_one() -> None:
    service = AgentService(Settings(), Metrics(), cast(VoiceAgent, Listener()))
    await service.prepare()
    assert service.problem() is None
    end = EventEnd()
    call_id = service.calls.open_socket(end)

    service.drain(asyncio.get_running_loop().time() + 600)
    assert service.problem() == "draining"
    with pytest.raises(DrainingError):
        service.calls.open_socket(EventEnd())
    drained = asyncio.create_task(service.drained())
    await asyncio.sleep(0)
    assert (drained.done(), service.under_way) == (False, 1)
    service.calls.detach(call_id, end)
    await drained
    assert service.under_way == 0
    await service.stop()
