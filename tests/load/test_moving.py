"""Calls that go on elsewhere because their server asks them to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping

import httpx
import pytest

from e2e.waiting import until
from firsthop.load import Load, Placed, Refused, Sound
from firsthop.load.doors import Whip
from firsthop.load.measured import Measured
from firsthop.load.moving import key_of
from load.echoes import SOUND, Echo, echoing

URL = "http://127.0.0.1:1/whip"
KEY = "ek_elsewhere"


def event(key: str = KEY) -> str:
    """What a transceiver sends that goes down on purpose."""
    secret = {"value": key, "expires_at": 1_790_000_000}
    told = {"type": "firsthop.handover", "event_id": "event_1", "client_secret": secret}
    return json.dumps(told | {"seconds": 14})


class Signaling(Whip):
    """Stands in for signaling: where a call goes is told by its key, None for none."""

    def __init__(self, echoes: Mapping[str | None, Echo]) -> None:
        super().__init__(URL)
        self._echoes = echoes
        self.asked: list[str | None] = []

    async def place(self, client: httpx.AsyncClient, offer: str, key: str | None = None) -> Placed:
        self.asked.append(key)
        if key not in self._echoes:
            raise Refused("http 503", "no room")
        return Placed(self._echoes[key].answer(offer), None)


def load(door: Whip, callers: int = 2) -> Load:
    sound = Sound(tuple(SOUND), (10,), 20)
    return Load(door, callers=callers, rate=40, sound=sound, listeners=1, local="127.0.0.1")


async def heard(load: Load, callers: int) -> None:
    """Wait until all hear something, and it is known which packets come back."""

    def all_heard() -> bool:
        found = load.measured()
        return len(found.stages_ms.get("audio", ())) == callers and bool(found.totals["returned"])

    await until(all_heard, "all hear something")


async def moved(load: Load, moves: int) -> Measured:
    await until(lambda: len(load.measured().move_gaps_ms) == moves, f"{moves} moves are over")
    return load.measured()


@pytest.fixture
async def here() -> AsyncIterator[Echo]:
    with echoing() as echo:
        yield echo


@pytest.fixture
async def elsewhere() -> AsyncIterator[Echo]:
    with echoing() as echo:
        yield echo


async def test_a_call_that_is_asked_to_goes_on_elsewhere_and_is_one_call(
    here: Echo, elsewhere: Echo
) -> None:
    signaling = Signaling({None: here, KEY: elsewhere})
    async with load(signaling) as calls:
        await calls.ramp_up()
        await heard(calls, 2)
        calls.measure()
        here.send('{"type": "response.done", "text": "firsthop.handover"}')
        here.send(event())
        here.send(event())
        await moved(calls, 2)
        await calls.hold(1.2)
        found = calls.measured()
    assert signaling.asked == [None, None, KEY, KEY]
    assert here.closed == ["client_closed", "client_closed"]
    assert (found.started, found.stood, found.failed) == (2, 2, 0)
    assert {stage: len(times) for stage, times in found.stages_ms.items()}["in all"] == 2
    assert min(move.took_ms for move in found.moves) > 0
    # An echo is never silent of its own accord.
    assert len(found.move_gaps_ms) == 2
    assert found.totals["connected"] == 2
    assert (found.totals["lost"], found.unreturned) == (0, 0)
    assert sum(instant.moved for instant in found.instants) == 2
    assert sum(instant.dropped for instant in found.instants) == 0
    assert found.instants[-1].connected == 2


async def test_a_call_that_cannot_be_moved_goes_on_until_it_is_dropped(here: Echo) -> None:
    signaling = Signaling({None: here})
    async with load(signaling) as calls:
        await calls.ramp_up()
        await heard(calls, 2)
        here.send(event())
        await until(lambda: calls.measured().moves_failed == {"http 503": 2}, "two refusals")
        found = calls.measured()
        assert (found.stood, found.failures, found.moves) == (2, {}, ())
        assert found.move_examples == {"http 503": "no room"}
        here.loop.stop()
        await calls.hold(30)
        found = calls.measured()
    assert found.stood == 0
    assert found.failures == found.dropped == {"closed_by_server": 2}
    assert sum(instant.dropped for instant in found.instants) == 2
    assert found.instants[-1].connected == 0


async def test_a_call_whose_server_ends_before_it_has_moved_is_not_dropped(
    here: Echo, elsewhere: Echo
) -> None:
    class Slow(Signaling):
        async def place(
            self, client: httpx.AsyncClient, offer: str, key: str | None = None
        ) -> Placed:
            if key is not None:
                here.loop.stop()
                await until(lambda: not calls.callers.totals()["connected"], "the end of the call")
            return await super().place(client, offer, key)

    async with load(Slow({None: here, KEY: elsewhere}), callers=1) as calls:
        await calls.ramp_up()
        await heard(calls, 1)
        here.send(event())
        found = await moved(calls, 1)
    assert (found.stood, found.failures) == (1, {})
    assert len(found.move_gaps_ms) == 1


def test_the_key_is_taken_from_the_event_and_from_no_other() -> None:
    assert key_of(event()) == KEY


@pytest.mark.parametrize(
    "message",
    [
        "firsthop.handover",
        '"firsthop.handover"',
        "[" * 100_000 + "firsthop.handover",
        event().replace("firsthop.handover", "response.done"),
        event().replace("client_secret", "firsthop.handover"),
        event(""),
        event("ek_\r\nHost: elsewhere"),
        event("ek_é"),
        json.dumps({"type": "firsthop.handover", "client_secret": {"value": 7}}),
        json.dumps({"type": "firsthop.handover", "client_secret": KEY}),
    ],
    ids=[
        "no JSON",
        "no object",
        "too deep",
        "another type",
        "no secret",
        "empty",
        "a header",
        "not ASCII",
        "a number",
        "no object for a secret",
    ],
)
def test_what_is_no_such_event_has_no_key(message: str) -> None:
    assert key_of(message) is None
